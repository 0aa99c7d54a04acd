"""ONNX Runtime with a CUDA provider, on the stub of a GPU: what sessions were asked for, and what graphs replay.

Programs are the bytes of a Python expression of x. A call with the id of a captured graph reads and writes the
addresses of the call it was captured in, whatever is bound now: as the provider does.
"""

from types import SimpleNamespace

from stub_gpu import Stub

PROVIDER = "CUDAExecutionProvider"


class StubOnnxRuntime:
    """To be put in the places of the backend's `onnxruntime`."""

    __version__ = "1.31.1"

    def __init__(self, gpu: Stub):
        self.gpu = gpu
        self.sessions: list[StubSession] = []
        self.available = [PROVIDER, "CPUExecutionProvider"]
        self.loads = True  # whether the provider's libraries can be loaded
        self.graphs = True  # whether it takes programs into graphs
        self.on_host: list[str] = ["Gather"]  # operators it gives to the CPU
        self.inputs = [argument("x", "tensor(float)", ["batch", 3])]  # of every program
        self.outputs = [argument("y", "tensor(float)", ["batch", 3])]
        self.GraphOptimizationLevel = SimpleNamespace(ORT_DISABLE_ALL=0)
        self.RunOptions = Entries
        self.SessionOptions = Entries

    def get_available_providers(self):
        return self.available

    def preload_dlls(self):
        if not self.loads:
            print("Failed to load libcudnn.so.9.")

    def InferenceSession(self, path, options, providers, enable_fallback, disabled_optimizers):  # noqa: N802
        assert enable_fallback == 0, "a failure would end on the CPU"
        assert disabled_optimizers == []
        session = StubSession(self, path.read_text(), options, providers)
        self.sessions.append(session)
        return session


def argument(name: str, kind: str, shape: list) -> SimpleNamespace:
    """An input or output as sessions describe it."""
    return SimpleNamespace(name=name, type=kind, shape=shape)


class Entries:
    """Session or run options."""

    def __init__(self):
        self.entries = {}

    def add_session_config_entry(self, key, value):
        self.entries[key] = value

    add_run_config_entry = add_session_config_entry


class StubSession:
    def __init__(self, library, expression, options, providers):
        self.library, self.expression, self.options = library, expression, options
        ((name, self.provider_options),) = providers
        assert name == PROVIDER
        if expression == "broken":
            raise RuntimeError("no graph was found in the protobuf.\nat line 1")
        self.captures = self.provider_options.get("enable_cuda_graph") == "1"
        if self.captures and not library.graphs:
            raise RuntimeError("This session cannot use the graph capture feature: control flow")
        self.graphs: dict[str, Binding] = {}
        self.replays = 0

    def get_providers(self):
        return [PROVIDER, "CPUExecutionProvider"] if self.library.loads else ["CPUExecutionProvider"]

    def get_inputs(self):
        return self.library.inputs

    def get_outputs(self):
        return self.library.outputs

    def get_provider_graph_assignment_info(self):
        assert self.options.entries["session.record_ep_graph_assignment_info"] == "1"
        parts = {PROVIDER: ["Conv"], "CPUExecutionProvider": self.library.on_host}
        return [
            SimpleNamespace(ep_name=name, get_nodes=lambda kinds=kinds: [SimpleNamespace(op_type=k) for k in kinds])
            for name, kinds in parts.items()
        ]

    def io_binding(self):
        return Binding()

    def run_with_iobinding(self, binding, options):
        self.entries = options.entries
        graph = options.entries.get("gpu_graph_id", "0")
        assert self.captures == ("gpu_graph_id" in options.entries)
        if self.captures and graph != "-1":
            self.replays += graph in self.graphs
            binding = self.graphs.setdefault(graph, binding)
        gpu = self.library.gpu
        (x, shape), (y, made) = binding.bound["x"], binding.bound["y"]
        gpu.enqueue(lambda: gpu.view(y, made).__setitem__(..., eval(self.expression, {"x": gpu.view(x, shape)})))
        gpu.cuda.cudaStreamSynchronize(77)  # as the provider does at the end of a run


class Binding:
    def __init__(self):
        self.bound = {}

    def bind_input(self, name, device, number, dtype, shape, address):
        assert (device, number) == ("cuda", 0) and dtype.__name__ == "float32"
        self.bound[name] = address, shape

    bind_output = bind_input
