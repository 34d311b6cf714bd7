// The CUDA kernels' arithmetic on the CPU, thread by thread, against the golden cases and the core.

#include <random>

#include "check.h"
#include "edgeproof/error.h"
#include "edgeproof/gpu_plan.h"
#include "edgeproof/json.h"
#include "edgeproof/preprocess.h"
#include "edgeproof/yuv.h"
#include "host_kernels.h"
#include "npy.h"

namespace {

using namespace edgeproof;

const std::string folder = GOLDEN_DIR "/";

std::uint64_t address(const void *pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

/// The tensor's bytes, as the kernels make them of a frame in memory that has exactly the sizes that the plan asks for.
std::vector<char> tensor_of(const Contract &contract, const Frame &frame) {
    Frame layout = frame;
    layout.data = nullptr;
    const GpuPlan plan(contract, layout);
    std::vector<double> tables(plan.tables().size() / sizeof(double) + 1);
    std::memcpy(tables.data(), plan.tables().data(), plan.tables().size());
    std::vector<float> scratch(static_cast<std::size_t>(plan.scratch_bytes()) / sizeof(float) + 1);
    std::vector<char> tensor(contract.slot_bytes());
    const auto job = plan.job({address(frame.data), address(frame.chroma[0]), address(frame.chroma[1])},
                              {frame.row_stride, frame.chroma_stride, frame.chroma_stride}, address(tables.data()),
                              address(scratch.data()), address(tensor.data()));
    for (const auto &launch : plan.launches())
        CHECK_WITH(run_kernel_on_host(launch.kernel.c_str(), launch.grid.data(), launch.block.data(), job.data()),
                   launch.kernel);
    return tensor;
}

std::vector<char> on_the_cpu(const Contract &contract, const Frame &frame) {
    Preprocessor preprocess(contract);
    std::vector<char> tensor(contract.slot_bytes());
    preprocess(frame, tensor.data());
    return tensor;
}

}  // namespace

TEST(every_golden_case) {
    const auto cases = json::parse(read_text(folder + "cases.json"));
    CHECK(cases.array().size() > 100);
    for (const auto &golden : cases.array()) {
        const Npy pixels = read_npy(folder + golden.at("frame").string());
        const Npy expected = read_npy(folder + golden.at("tensor").string());
        const int channels = pixels.shape.size() == 3 ? static_cast<int>(pixels.shape[2]) : 1;
        const auto dtype = pixels.dtype == "<u2"   ? FrameDtype::uint16
                           : pixels.dtype == "<f4" ? FrameDtype::float32
                                                   : FrameDtype::uint8;
        const auto frame = Frame::packed(reinterpret_cast<const std::uint8_t *>(pixels.bytes.data()), pixels.shape[0],
                                         pixels.shape[1], channels, parse_color(golden.at("color").string()), 0, dtype);
        CHECK_WITH(tensor_of(contract_from_json(golden.at("contract")), frame) == expected.bytes,
                   golden.at("tensor").string());
    }
}

TEST(golden_yuv_images) {
    const auto cases = json::parse(read_text(folder + "yuv.json"));
    CHECK(cases.array().size() == 12);
    for (const auto &golden : cases.array()) {
        std::vector<std::uint8_t> bytes;
        for (const auto &byte : golden.at("frame").array()) bytes.push_back(static_cast<std::uint8_t>(byte.integer()));
        std::vector<std::uint8_t> expected;
        for (const auto &byte : golden.at("bgr").array()) expected.push_back(static_cast<std::uint8_t>(byte.integer()));
        const int height = golden.at("height").integer();
        const int width = golden.at("width").integer();
        const Frame frame =
            Frame::yuv(bytes.data(), height, width, parse_pixel_format(golden.at("format").string()),
                       parse_yuv_matrix(golden.at("matrix").string()), parse_yuv_range(golden.at("range").string()));
        std::vector<std::uint8_t> bgr(static_cast<std::size_t>(3 * height * width));
        yuv_to_bgr(frame, bgr.data());
        CHECK(bgr == expected);
        Contract same;
        same.color = Color::bgr;
        same.resize = ResizeMode::squash;
        same.resize_size = {height, width};
        same.crop_size.reset();
        same.filter = Filter::nearest;
        same.scale = 1.0;
        same.mean = {0.0, 0.0, 0.0};
        same.std = {1.0, 1.0, 1.0};
        same.layout = Layout::nhwc;
        same.dtype = DType::uint8;
        const std::vector<char> pixels(expected.begin(), expected.end());
        CHECK(tensor_of(same, frame) == pixels);
        CHECK(on_the_cpu(same, frame) == pixels);
    }
}

TEST(yuv_frames_become_the_tensor_of_their_bgr_image) {
    constexpr int height = 62;
    constexpr int width = 46;
    std::mt19937 random(5);
    std::vector<std::uint8_t> bytes(2 * height * width);
    for (auto &byte : bytes) byte = static_cast<std::uint8_t>(random());
    std::vector<std::uint8_t> bgr(3 * height * width);
    for (const PixelFormat format : {PixelFormat::nv12, PixelFormat::i420, PixelFormat::yuyv})
        for (const YuvMatrix matrix : {YuvMatrix::bt601, YuvMatrix::bt709})
            for (const Color color : {Color::rgb, Color::bgr, Color::gray})
                for (const int rows : {7, 60, 99}) {
                    Contract contract;
                    contract.color = color;
                    contract.resize = ResizeMode::letterbox;
                    contract.resize_size = {rows, 33};
                    contract.crop_size.reset();
                    contract.filter = Filter::lanczos;
                    if (color == Color::gray) {
                        contract.mean = contract.std = {0.5};
                        contract.fill = {7};
                    }
                    const Frame frame = Frame::yuv(bytes.data(), height, width, format, matrix, YuvRange::full);
                    yuv_to_bgr(frame, bgr.data());
                    const auto expected = on_the_cpu(contract, Frame::packed(bgr.data(), height, width, 3));
                    CHECK(on_the_cpu(contract, frame) == expected);
                    CHECK(tensor_of(contract, frame) == expected);
                }
}

TEST(frames_that_the_contract_does_not_take_are_refused) {
    const std::vector<std::uint8_t> bytes(4 * 64);
    Contract contract;
    CHECK_THROWS(GpuPlan(contract, Frame::yuv(bytes.data(), 8, 7, PixelFormat::yuyv)), frame);
    CHECK_THROWS(GpuPlan(contract, Frame::yuv(bytes.data(), 7, 8, PixelFormat::nv12)), frame);
    CHECK_THROWS(GpuPlan(contract, Frame::packed(nullptr, 8, 8, 4)), frame);
    CHECK_THROWS(GpuPlan(contract, Frame::packed(nullptr, 0, 8, 3)), frame);
    CHECK_THROWS(GpuPlan(contract, Frame::packed(nullptr, 8, 8, 3, Color::bgr, 0, FrameDtype::float32)), frame);
    contract.color = Color::channels;
    CHECK_THROWS(GpuPlan(contract, Frame::yuv(bytes.data(), 8, 8, PixelFormat::nv12)), frame);
    contract.batch.min = 0;
    CHECK_THROWS(GpuPlan(contract, Frame::packed(nullptr, 8, 8, 3)), contract);
}
