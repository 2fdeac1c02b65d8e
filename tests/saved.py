"""Reading what autograd holds: save any tensor, walk a graph, list what its nodes have saved."""

import torch

import gact


class Save(torch.autograd.Function):
    """The identity of ``anchor``; saves the other tensors."""

    @staticmethod
    def forward(ctx, anchor, *tensors):
        ctx.save_for_backward(*tensors)
        return anchor.clone()

    @staticmethod
    def backward(ctx, grad):
        assert ctx.saved_tensors is not None
        return (grad, *[None] * (len(ctx.needs_input_grad) - 1))


gact.register_need(Save, "value")


def activation(x):
    """The same values in the same layout and place, as the result of an op: what no op made may be held more finely."""
    whole = torch.empty(0, dtype=x.dtype).set_(x.untyped_storage()).clone()
    return (whole.requires_grad_() * 1).as_strided(x.size(), x.stride(), x.storage_offset())


def save(*tensors):
    """An output whose node has saved the tensors."""
    output = Save.apply(torch.zeros((), requires_grad=True), *tensors)
    output.add(0)  # an op that leads back to the node, which tells whose the saves are
    return output


def held(output):
    """What the node of ``save``'s output gives back."""
    return output.grad_fn.saved_tensors


def roundtrip(compressor, *tensors):
    """What is unpacked for the tensors; a single one not in a tuple."""
    with compressor:
        output = save(*tensors)
    unpacked = [tensor.detach() for tensor in held(output)]
    return unpacked if len(tensors) > 1 else unpacked[0]


def nodes(*outputs):
    """All nodes of a graph, in an order that depends on its structure alone."""
    found, queue = {}, [output.grad_fn for output in outputs if output.grad_fn is not None]
    while queue:
        node = queue.pop()
        if node not in found:
            found[node] = None
            queue += [earlier for earlier, _ in node.next_functions if earlier is not None]
    return list(found)


def saved_of(node):
    """The tensors that a node has saved, by name."""
    tensors = {}
    for name in dir(node):
        if name.startswith("_saved_") or (name == "saved_tensors" and "_raw_saved_tensors" in dir(node)):
            value = getattr(node, name)
            values = value if isinstance(value, (tuple, list)) else [value]
            tensors |= {(name, at): each for at, each in enumerate(values) if isinstance(each, torch.Tensor)}
    return tensors


def all_saved(*outputs):
    """Every tensor that a graph has saved, in the order of ``nodes``: (node name, attribute, tensor)."""
    return [(node.name(), key, tensor) for node in nodes(*outputs) for key, tensor in saved_of(node).items()]


def find_saved(output, name):
    """The tensors saved under an attribute name anywhere in the graph, nearest to the output first."""
    return [tensor for _, (attribute, _), tensor in all_saved(output) if attribute == f"_saved_{name}"]


def address(tensor):
    """Where the tensor's storage lies."""
    return tensor.untyped_storage().data_ptr()


def active_pair():
    """The hooks that autograd would call now: (pack, unpack), or None."""
    return torch._C._autograd._top_saved_tensors_default_hooks(True)
