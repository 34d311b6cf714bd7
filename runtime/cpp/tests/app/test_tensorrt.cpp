// The TensorRT engine on a fake TensorRT and CUDA (fake_nvidia/): no GPU and none of NVIDIA's packages is required.

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "bundle/on_disk.h"
#include "check.h"
#include "edgeproof/failure.h"
#include "engines/catalog.h"
#include "engines/cuda.h"
#include "fake_nvidia.h"
#include "system/host.h"

using namespace edgeproof;
using namespace edgeproof::app;

namespace {

constexpr const char *other_device =
    "Using an engine plan file across different models of devices is not recommended and is likely to affect "
    "performance or even cause errors.";

/// A bundle with a plan, and the fake GPU as it is at first.
struct Bench {
    Bench() { nvidia() = {}; }

    std::unique_ptr<Engine> load() {
        bundle = std::make_unique<Bundle>(disk.write());
        return load_tensorrt({*bundle, "fp32", {}});
    }

    /// What loading says that fails; empty if it does not fail. Nothing may be left behind.
    std::string refusal(ExitCode code) {
        std::string said;
        try {
            load();
        } catch (const Failure &failure) {
            CHECK(failure.code == code);
            said = failure.what();
        }
        CHECK(FakeNvidia::live() == 0);
        CHECK(nvidia().faults == 0);
        return said;
    }

    OnDisk disk;
    std::unique_ptr<Bundle> bundle;
};

bool says(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

std::string detail(const Engine &engine, const std::string &name) {
    for (const auto &[key, text] : engine.describe().details)
        if (key == name) return text;
    return {};
}

/// Run values that differ from run to run, and compare with what the fake network makes of them.
void check_runs(Engine &engine, int runs) {
    for (int run = 1; run <= runs; ++run) {
        auto *in = static_cast<float *>(engine.input());
        float expected[2] = {};
        for (int i = 0; i < 192; ++i) {
            in[i] = static_cast<float>(i * run % 13);
            expected[i % 2] += in[i];
        }
        engine.run();
        CHECK(engine.output(0)[0] == expected[0] && engine.output(0)[1] == expected[1]);
    }
    CHECK(nvidia().faults == 0);
}

}  // namespace

// The first test: plugins are registered once per process.
TEST(plugins_are_registered_once_before_the_first_plan_is_read) {
    Bench bench;
    nvidia().plugins_register = false;
    nvidia().refusal = "Cannot find plugin";
    const std::string said = bench.refusal(ExitCode::unavailable);
    CHECK_WITH(says(said, "got:      Cannot find plugin"), said);
    CHECK(nvidia().events == std::vector<std::string>({"plugins", "runtime", "plan"}));
    CHECK(nvidia().loggers.at(0) == nvidia().loggers.at(1));
    nvidia() = {};
    bench.load();
    CHECK(nvidia().events == std::vector<std::string>({"runtime", "plan"}));
}

TEST(the_second_run_is_captured_and_every_later_one_launches_the_graph) {
    Bench bench;
    {
        const auto engine = bench.load();
        CHECK(nvidia().calls["enqueueV3"] == 2);  // a direct run, and the one that is captured
        CHECK(nvidia().calls["cudaGraphLaunch"] == 1);
        check_runs(*engine, 5);
        CHECK(nvidia().calls["enqueueV3"] == 2);
        CHECK(nvidia().calls["cudaGraphLaunch"] == 6);
        CHECK(detail(*engine, "cuda_graph") == "captured");
        const EngineInfo info = engine->describe();
        CHECK(info.name == "tensorrt" && info.version == "10.3.0" && info.device == "Orin" && info.notes.empty());
        CHECK(detail(*engine, "compute_capability") == "8.7" && detail(*engine, "driver_cuda") == "12.6");
        CHECK(detail(*engine, "built_on") == "no GPU" && detail(*engine, "engine_key") == "k");
    }
    CHECK(FakeNvidia::live() == 0);
}

TEST(what_cannot_be_captured_is_launched_directly) {
    const struct {
        const char *function;  // of CUDA that fails; empty for a layer that synchronises
        const char *reason;
    } cases[] = {{"", "not possible: operation not permitted when stream is capturing"},
                 {"cudaStreamBeginCapture", "not possible: another error"},
                 {"cudaStreamEndCapture", "not possible: operation failed due to a previous error during capture"},
                 {"cudaGraphInstantiateWithFlags", "not possible: out of memory"}};
    for (const auto &[function, reason] : cases) {
        Bench bench;
        nvidia().capturable = *function != '\0';
        const std::string name = function;
        nvidia().fails[name] = name == "cudaStreamBeginCapture" ? cudaErrorStreamCaptureUnsupported
                               : name == "cudaStreamEndCapture" ? cudaErrorStreamCaptureInvalidated
                                                                : cudaErrorMemoryAllocation;
        {
            const auto engine = bench.load();
            CHECK_WITH(detail(*engine, "cuda_graph") == reason, detail(*engine, "cuda_graph"));
            const int enqueued = nvidia().calls["enqueueV3"];
            check_runs(*engine, 3);
            CHECK(nvidia().calls["enqueueV3"] == enqueued + 3);  // no further attempt
            CHECK(nvidia().calls["cudaGraphLaunch"] == 0);
        }
        CHECK(FakeNvidia::live() == 0);
    }
}

TEST(an_integrated_gpu_uses_the_kind_of_memory_that_is_the_fastest) {
    const struct {
        std::map<std::string, double> slow_ms;
        bool concurrent;
        const char *memory;
        int copies;  // of a run
    } cases[] = {
        {{{"device", 3}}, false, "shared with the host, no copies", 0},
        {{{"mapped", 3}}, false, "pinned host memory", 2},
        {{{"mapped", 3}, {"device", 9}}, false, "shared with the host, no copies", 0},  // managed is not tried
        {{{"mapped", 3}, {"device", 3}}, true, "managed, no copies", 0},
        {{{"managed", 3}, {"device", 3}}, true, "shared with the host, no copies", 0},
    };
    for (const auto &[slow_ms, concurrent, memory, copies] : cases) {
        Bench bench;
        nvidia().integrated = true;
        nvidia().concurrent_managed = concurrent;
        nvidia().slow_ms = slow_ms;
        {
            const auto engine = bench.load();
            CHECK_WITH(detail(*engine, "memory") == memory, detail(*engine, "memory"));
            const std::string measured = detail(*engine, "memory_measured");
            CHECK_WITH(says(measured, "mapped ") && says(measured, ", pinned "), measured);
            CHECK_WITH(says(measured, ", managed ") == concurrent, measured);
            nvidia().calls.clear();
            nvidia().slow_ms.clear();
            check_runs(*engine, 4);
            CHECK(nvidia().calls["cudaMemcpyAsync"] == 4 * copies);
            CHECK(nvidia().calls["cudaGraphLaunch"] == 4);
            const auto on_host = [&](void *address) { return fake::behind(address) == engine->input(); };
            CHECK(on_host(nvidia().addresses[0]) == (copies == 0));
        }
        CHECK(FakeNvidia::live() == 0);
    }
}

TEST(another_kind_of_memory_must_be_clearly_faster) {
    using cuda::MemoryKind;
    const auto chosen = [](double mapped, double pinned, double managed) {
        return cuda::fastest({{MemoryKind::mapped, mapped}, {MemoryKind::pinned, pinned}, {MemoryKind::managed, managed}});
    };
    CHECK(chosen(1.0, 0.96, 0.97) == MemoryKind::mapped);  // less than 5 %
    CHECK(chosen(1.0, 0.94, 0.95) == MemoryKind::pinned);
    CHECK(chosen(1.0, 0.94, 0.93) == MemoryKind::managed);
    CHECK(chosen(0.1, 0.085, 0.2) == MemoryKind::mapped);  // less than 0.02 ms
    CHECK(chosen(0.1, 0.075, 0.2) == MemoryKind::pinned);
    CHECK(cuda::fastest({{MemoryKind::mapped, 1.0}}) == MemoryKind::mapped);
}

TEST(a_kind_of_memory_that_cannot_be_had_is_left_out) {
    for (const char *function : {"cudaMallocManaged", "cudaMalloc"}) {
        Bench bench;
        nvidia().integrated = nvidia().concurrent_managed = true;
        nvidia().slow_ms = {{"mapped", 3}};
        nvidia().fails[function] = cudaErrorMemoryAllocation;
        const auto engine = bench.load();
        const bool no_managed = std::string(function) == "cudaMallocManaged";
        CHECK(detail(*engine, "memory") == (no_managed ? "pinned host memory" : "managed, no copies"));
        CHECK(!says(detail(*engine, "memory_measured"), no_managed ? "managed" : "pinned"));
        check_runs(*engine, 2);
    }
    CHECK(FakeNvidia::live() == 0);
}

TEST(a_gpu_with_memory_of_its_own_measures_nothing) {
    Bench bench;
    const auto engine = bench.load();
    CHECK(detail(*engine, "memory") == "pinned host memory");
    CHECK(detail(*engine, "memory_measured").empty());
    CHECK(nvidia().calls["cudaHostAlloc"] == 2);  // input and output
}

TEST(outputs_that_the_bundle_does_not_name_get_memory) {
    Bench bench;
    nvidia().tensors.push_back({"features", false, nvinfer1::DataType::kINT64, {1, 700}});
    nvidia().tensors.push_back({"boxes", false, nvinfer1::DataType::kFLOAT, {-1, 4}});
    {
        const auto engine = bench.load();
        check_runs(*engine, 3);
        std::size_t room = 0;
        CHECK(fake::kind_of(nvidia().addresses[2], &room) == "device" && room >= 700 * 8);
        CHECK(fake::kind_of(nvidia().addresses[3], &room) == "device" && room == 64);
        CHECK(nvidia().calls["cudaHostAlloc"] == 2);  // none of them is copied to the host
    }
    CHECK(FakeNvidia::live() == 0);
    nvidia().bound_bytes = -1;
    const std::string said = bench.refusal(ExitCode::bad_input);
    CHECK_WITH(says(said, "unsupported output of unknown size") && says(said, "boxes"), said);
}

TEST(a_plan_of_another_gpu_of_the_same_capability_is_told) {
    Bench bench;
    bench.disk.built_on = "Orin, 16 SMs, 62 GiB";
    const auto engine = bench.load();
    const std::vector<std::string> notes = engine->describe().notes;
    CHECK(notes.size() == 1);
    CHECK_WITH(says(notes.at(0), "built on Orin, 16 SMs, 62 GiB, this is Orin, 16 SMs, 8 GiB"), notes.at(0));
    CHECK(detail(*engine, "built_on") == "Orin, 16 SMs, 62 GiB");
    bench.disk.built_on = "Orin, 16 SMs, 8 GiB";
    CHECK(bench.load()->describe().notes.empty());
}

TEST(tensorrts_warning_of_another_gpu_is_shown_once_and_no_other) {
    Bench bench;
    nvidia().warnings = {"Check verbose logs for the list of affected weights.", other_device, other_device};
    const std::vector<std::string> notes = bench.load()->describe().notes;
    CHECK(notes == std::vector<std::string>({std::string("tensorrt: ") + other_device}));
    CHECK(bench.load()->describe().notes.empty());
}

TEST(a_plan_for_larger_batches_is_refused_with_its_bounds) {
    Bench bench;
    nvidia().smallest_batch = 4;
    const std::string said = bench.refusal(ExitCode::bad_input);
    CHECK_WITH(says(said, "model.plan: compiled for larger batches") && says(said, "batches of 4 to 8") &&
                   says(said, "--batch 1,OPT,MAX"),
               said);
}

TEST(options_of_the_plan_reach_tensorrt) {
    Bench bench;
    bench.disk.options = R"({"version_compatible": true, "dla_core": 1})";
    nvidia().version = 101600;
    CHECK(bench.load()->describe().version == "10.16.0");
    CHECK(nvidia().host_code_allowed && nvidia().dla_core == 1);
    bench.disk.options = "{}";
    nvidia() = {};
    bench.load();
    CHECK(!nvidia().host_code_allowed && nvidia().dla_core == -1);
    nvidia().version = 8601;
    CHECK(says(bench.refusal(ExitCode::unavailable), "built by 10.3.0.30, installed is 8.6.1"));
}

TEST(tensorrts_own_words_are_passed_on) {
    const struct {
        void (*set)(FakeNvidia &);
        std::vector<std::string> said;
    } cases[] = {
        {[](FakeNvidia &gpu) { gpu.starts = false; }, {"tensorrt: does not start", "CUDA initialization failure"}},
        {[](FakeNvidia &gpu) { gpu.refusal = "The engine plan file is not compatible with this version"; },
         {"model.plan: rejected by tensorrt", "not compatible with this version", "edgeproof compile"}},
        {[](FakeNvidia &gpu) { gpu.has_context = false; },
         {"could not create an execution context", "CUDA out of memory", "free GPU memory"}},
        {[](FakeNvidia &gpu) { gpu.takes_addresses = false; }, {"rejected the memory of input", "not aligned"}},
        {[](FakeNvidia &gpu) { gpu.run_error = "Cask convolution execution failed"; },
         {"tensorrt: could not run the model", "Cask convolution execution failed"}},
    };
    for (const auto &[set, expected] : cases) {
        Bench bench;
        set(nvidia());
        const std::string said = bench.refusal(ExitCode::unavailable);
        for (const std::string &part : expected) CHECK_WITH(says(said, part), said);
    }
}

TEST(a_plan_with_other_tensors_is_refused) {
    using nvinfer1::DataType;
    const struct {
        void (*set)(FakeNvidia &);
        const char *said;
    } cases[] = {
        {[](FakeNvidia &gpu) { gpu.tensors[0].name = "image"; }, "its input does not match the model's"},
        {[](FakeNvidia &gpu) { gpu.tensors[0].type = DataType::kHALF; }, "its input does not match the model's"},
        {[](FakeNvidia &gpu) { gpu.tensors.push_back({"mask", true, DataType::kFLOAT, {1}}); },
         "its input does not match the model's\n  got:      mask"},
        {[](FakeNvidia &gpu) { gpu.tensors[1].name = "scores"; }, "an output does not match the manifest"},
        {[](FakeNvidia &gpu) { gpu.tensors[1].type = DataType::kHALF; }, "an output does not match the manifest"},
        {[](FakeNvidia &gpu) { gpu.tensors[1].shape = {1, 3}; }, "logits, 2 values of float32"},
        {[](FakeNvidia &gpu) { gpu.tensors[1].shape = {-1, 2}; }, "an output does not match the manifest"},
    };
    for (const auto &[set, expected] : cases) {
        Bench bench;
        set(nvidia());
        const std::string said = bench.refusal(ExitCode::bad_input);
        CHECK_WITH(says(said, expected), said);
    }
}

TEST(what_cuda_refuses_is_named) {
    const struct {
        const char *function;
        const char *said;
    } cases[] = {{"cudaGetDeviceProperties", "could not ask the GPU for its properties"},
                 {"cudaDeviceGetAttribute", "could not ask the GPU for its properties"},
                 {"cudaMemGetInfo", "could not ask the GPU for its memory"},
                 {"cudaStreamCreateWithFlags", "could not create a stream"},
                 {"cudaHostAlloc", "could not allocate page-locked memory"},
                 {"cudaMalloc", "could not allocate memory of the GPU"},
                 {"cudaMemcpyAsync", "could not copy the input"},
                 {"cudaGraphLaunch", "could not launch the graph"},
                 {"cudaStreamSynchronize", "could not run the model"}};
    for (const auto &[function, expected] : cases) {
        Bench bench;
        nvidia().fails[function] = cudaErrorLaunchFailure;
        const std::string said = bench.refusal(ExitCode::unavailable);
        CHECK_WITH(says(said, std::string("CUDA: ") + expected), said);
        CHECK_WITH(says(said, "cudaErrorLaunchFailure: unspecified launch failure"), said);
    }
    Bench bench;
    nvidia().integrated = true;
    nvidia().fails["cudaHostGetDevicePointer"] = cudaErrorNotSupported;
    CHECK(says(bench.refusal(ExitCode::unavailable), "CUDA: could not map page-locked memory"));
}

TEST(a_run_that_fails_once_does_not_spoil_the_next) {
    Bench bench;
    const auto engine = bench.load();
    nvidia().fails_once["cudaGraphLaunch"] = cudaErrorMemoryAllocation;
    bool failed = false;
    try {
        engine->run();
    } catch (const Failure &failure) {
        failed = says(failure.what(), "could not launch the graph");
    }
    CHECK(failed);
    check_runs(*engine, 3);
}

TEST(a_machine_without_a_gpu_or_with_an_old_driver_says_which) {
    Bench bench;
    nvidia().devices = 0;
    CHECK(says(bench.refusal(ExitCode::unavailable), "CUDA: no usable GPU found\n  got:      no device"));
    nvidia().fails["cudaGetDeviceCount"] = cudaErrorInsufficientDriver;
    nvidia().driver_cuda = 0;
    CHECK(says(bench.refusal(ExitCode::unavailable), "install NVIDIA's driver"));
    nvidia().driver_cuda = 12020;
    nvidia().runtime_cuda = 13000;
    const std::string said = bench.refusal(ExitCode::unavailable);
    CHECK_WITH(says(said, "the driver is too old for this program") &&
                   says(said, "it supports CUDA 12.2, the program uses 13.0") && says(said, "with CUDA 12.2"),
               said);
}

TEST(a_jetson_is_known_by_its_release_file_or_its_device_tree) {
    const OnDisk disk;
    const auto tree = disk.folder / "proc/device-tree";
    std::filesystem::create_directories(tree);
    std::filesystem::create_directories(disk.folder / "etc");
    std::ofstream(tree / "model") << "NVIDIA Jetson Orin NX" << '\0';
    CHECK(jetson_board(disk.folder).empty());
    std::ofstream(tree / "compatible") << "nvidia,p3768" << '\0' << "nvidia,tegra234" << '\0';
    CHECK(jetson_board(disk.folder) == "NVIDIA Jetson Orin NX");
    std::filesystem::remove(tree / "compatible");
    std::ofstream(disk.folder / "etc/nv_tegra_release") << "# R36 (release)\n";
    CHECK(jetson_board(disk.folder) == "NVIDIA Jetson Orin NX");
}
