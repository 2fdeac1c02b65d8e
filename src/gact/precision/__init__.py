"""Widths that follow the gradient: sensitivities measured at run time, bits allocated under a budget.

* ``controller``, ``schedule``: the one that answers for the width of every site, and when it measures.
* ``measurement``, ``fine``, ``variance``: a step in which sensitivities are measured holds finer codes.
* ``probe``, ``sensitivity``, ``grouping``, ``graph``, ``findings``: backward passes of our own on the step's graph, and
  what they tell. ``aside``, ``reach``, ``alive``, ``refusal``: what such passes must leave as it was, and where they
  cannot run. ``functions``, ``hooks``, ``repeatable``: what custom Functions and hooks of users do in them.
* ``known``, ``sightings``: what is known of the sites. ``budget``, ``allocation``, ``objective``: the widths.
* ``suffering``: which parameters have most noise. ``figures``: small tensors of a device, brought to the CPU at once.
* ``agreement``, ``joint``: ranks of a distributed run choose the same, and none waits for another.
* ``comparison``: predicted noise beside measured noise.
* ``state``, ``resumed``: all of that as plain numbers, and back.

``docs/precision.md`` tells the method.
"""
