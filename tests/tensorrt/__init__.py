"""A double of TensorRT 10 and 11 that refuses what the real ones refuse, and really computes.

`double.install` puts a module called tensorrt into `sys.modules`. Its classes, members, parameters
and enumerations are those of the real bindings (`surface-10.json` and `surface-11.json`, read out
of them by `read_surface`): what TensorRT does not have is an AttributeError here, too. What a
"GPU" computes is computed by ONNX Runtime on the CPU, at the addresses it is given.

What it refuses, as the real one does:

- in a graph: operators of other domains, float64, mixed types, Q/DQ with a zero point that is not
  zero, DequantizeLinear of int32 (biases);
- in a network: flags of another version, weak typing with precision flags together with strong
  typing; parsing into a network that is not empty;
- in a build: open dimensions without a profile, shapes in the wrong order or of another rank or
  size than the network's, a workspace of nothing;
- of a serialized engine: another TensorRT version, another kind of GPU, damage;
- in a run: shapes outside of the profile, inputs or outputs without an address.
"""
