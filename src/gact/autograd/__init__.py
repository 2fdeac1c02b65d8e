"""Where torch's internals are touched: the graph and its nodes, hooks, modules, backward passes inside of forward.

* ``internals``: every private name of torch, what it is for and what there is without it.
* ``nodes``: which node saved a tensor, in which slot; the way from a result back to the nodes behind it.
* ``hooks``, ``pair``, ``opening``, ``interrupts``: saved-tensor hooks, put in and taken out whatever happens.
* ``modules``: which module is running. ``compiling``: what must not be compiled.
* ``inner``: backward passes that forward itself runs. ``passes``: all backward passes, before they run.
* ``replicas``: the other processes that run the same steps. ``storages``: addresses that are not used again.
"""
