"""libphyslm_cuda.so through its C ABI (native/cpp/abi.h): tensors by address, calls one by one or as a replayed list."""

import ctypes as c

import numpy as np

F32, F64, I32, BF16 = 0, 1, 2, 3


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("dtype", c.c_int32), ("rank", c.c_int32), ("shape", c.c_int64 * 6)]


class Entry(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("n_in", c.c_int32),
        ("n_out", c.c_int32),
        ("n_attrs", c.c_int32),
        ("bf16", c.c_uint32),
        ("repeats", c.c_int32),
        ("run", c.c_void_p),
    ]


class Call(c.Structure):
    _fields_ = [("kernel", c.c_int32), ("n_sets", c.c_int32), ("tensors", c.POINTER(Tensor)), ("attrs", c.POINTER(c.c_double))]


class Functions(c.Structure):
    _fields_ = [
        ("abi_version", c.c_int32),
        ("device", c.c_char_p),
        ("unavailable", c.CFUNCTYPE(c.c_char_p)),
        ("description", c.CFUNCTYPE(c.c_char_p)),
        ("manifest", c.CFUNCTYPE(c.POINTER(Entry), c.POINTER(c.c_int32))),
        ("last_error", c.CFUNCTYPE(c.c_char_p)),
        ("check", c.CFUNCTYPE(c.c_int32, c.c_int32, c.c_int32, c.POINTER(Tensor), c.POINTER(Tensor))),
        ("run", c.CFUNCTYPE(c.c_int32, c.POINTER(Call), c.c_int32, c.POINTER(c.c_void_p), c.POINTER(c.c_int32))),
        ("profile", c.c_void_p),
        ("drop_replay", c.CFUNCTYPE(None, c.c_void_p)),
        ("allocate", c.CFUNCTYPE(c.c_void_p, c.c_uint64, c.c_int32)),
        ("release", c.CFUNCTYPE(None, c.c_void_p)),
        ("synchronize", c.CFUNCTYPE(c.c_int32)),
    ]


def tensor(address, dtype, shape):
    return Tensor(address, dtype, len(shape), (c.c_int64 * 6)(*shape, *[0] * (6 - len(shape))))


class Library:
    def __init__(self, path):
        lib = c.CDLL(path)
        lib.physlm_cuda_library.restype = c.POINTER(Functions)
        self.f = lib.physlm_cuda_library().contents
        if self.f.abi_version != 4:
            raise SystemExit(f"{path} has ABI version {self.f.abi_version}, expected 4")
        why = self.f.unavailable()
        if why:
            raise SystemExit(f"{path}: {why.decode()}")
        n = c.c_int32()
        entries = self.f.manifest(c.byref(n))
        self.kernels = {entries[i].name.decode().removesuffix("_cuda"): i for i in range(n.value)}
        self.n_in = [entries[i].n_in for i in range(n.value)]

    def description(self):
        return self.f.description().decode()

    def fail(self, what):
        raise RuntimeError(f"{what}: {self.f.last_error().decode()}")

    def call(self, name, ins, outs, attrs=()):
        """One kernel call, of several sets of tensors where the kernel repeats; keep the result as long as it may run."""
        tensors = (Tensor * (len(ins) + len(outs)))(*ins, *outs)
        values = (c.c_double * max(1, len(attrs)))(*attrs)
        kernel = self.kernels[name]
        n_sets = len(ins) // max(1, self.n_in[kernel]) or 1
        if self.f.check(kernel, n_sets, tensors, c.cast(c.addressof(tensors) + len(ins) * c.sizeof(Tensor), c.POINTER(Tensor))):
            self.fail(name)
        call = Call(kernel, n_sets, tensors, values)
        call.keep = (tensors, values, name)
        return call

    def run(self, calls, replay=None):
        array = (Call * len(calls))(*calls)
        failed = c.c_int32(-1)
        if self.f.run(array, len(calls), c.byref(replay) if replay is not None else None, c.byref(failed)):
            self.fail(f"call {failed.value}")

    def wait(self):
        if self.f.synchronize():
            self.fail("synchronize")


GUARD = 4096


class Array:
    """Memory of the library between guard bytes, poisoned with NaN, seen from the host as numpy."""

    def __init__(self, library, shape, kind="f32", data=None):
        self.library, self.shape, self.kind = library, tuple(shape), kind
        width = {"f32": 4, "bf16": 2, "i32": 4}[kind]
        size = int(np.prod(self.shape))
        self.bytes = GUARD + size * width + GUARD
        self.base = library.f.allocate(self.bytes, 0)
        if not self.base:
            raise MemoryError(f"no memory for {self.bytes} bytes")
        self.raw = np.ctypeslib.as_array((c.c_uint8 * self.bytes).from_address(self.base))
        self.raw[:] = 0xFF
        self.end = GUARD + size * width
        view = self.raw[GUARD : self.end]
        self.host = view.view({"f32": np.float32, "bf16": np.uint16, "i32": np.int32}[kind]).reshape(self.shape)
        if data is not None:
            self.host[...] = to_bf16(data) if kind == "bf16" else data

    @property
    def tensor(self):
        dtype = {"f32": F32, "bf16": BF16, "i32": I32}[self.kind]
        return tensor(self.base + GUARD, dtype, self.shape)

    def read(self):
        if not (self.raw[:GUARD] == 0xFF).all() or not (self.raw[self.end :] == 0xFF).all():
            raise AssertionError("a kernel wrote outside its tensor")
        if self.kind == "bf16":
            return from_bf16(self.host)
        return self.host.astype(np.float64)

    def free(self):
        self.library.f.release(self.base)


def to_bf16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
