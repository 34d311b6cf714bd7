// Any contract on any frame: the SIMD levels agree, and nothing outside the frame and the tensor is touched. Both are
// heap blocks of exactly their size, so that AddressSanitizer sees the first byte too many.

#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "edgeproof/error.h"
#include "edgeproof/preprocess.h"

using namespace edgeproof;

namespace {

template <typename E>
E pick(FuzzedDataProvider &input, int count) {
    return static_cast<E>(input.ConsumeIntegralInRange(0, count - 1));
}

Contract any_contract(FuzzedDataProvider &input) {
    Contract contract;
    contract.color = pick<Color>(input, 4);
    contract.resize = pick<ResizeMode>(input, 5);
    contract.filter = pick<Filter>(input, 5);
    contract.resampler = pick<Resampler>(input, 2);
    contract.layout = pick<Layout>(input, 2);
    contract.dtype = pick<DType>(input, 3);
    const auto side = [&] { return input.ConsumeIntegralInRange(1, 200); };
    contract.resize_size = {side(), side()};
    if (contract.resize == ResizeMode::shortest) contract.resize_size.width = contract.resize_size.height;
    contract.crop_size.reset();
    if (contract.resize == ResizeMode::crop_fraction)
        contract.crop_fraction = input.ConsumeFloatingPointInRange(0.0, 1.0);
    else if (input.ConsumeBool() || contract.resize == ResizeMode::shortest || contract.resize == ResizeMode::cover)
        contract.crop_size = Size{side(), side()};
    if (contract.color == Color::channels) {
        contract.mean.assign(input.ConsumeIntegralInRange<std::size_t>(1, 20), 0.0);
        contract.frame_dtype = pick<FrameDtype>(input, 3);
    }
    const auto channels = static_cast<std::size_t>(contract.channels());
    contract.fill.assign(channels, input.ConsumeIntegralInRange(-1, 256));
    contract.mean.assign(channels, contract.dtype == DType::uint8 ? 0.0 : input.ConsumeFloatingPoint<double>());
    contract.std.assign(channels, contract.dtype == DType::uint8 ? 1.0 : input.ConsumeFloatingPoint<double>());
    contract.scale = contract.dtype == DType::uint8 ? 1.0 : 255.0;
    return contract;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    FuzzedDataProvider input(data, size);
    const Contract contract = any_contract(input);
    const auto height = input.ConsumeIntegralInRange<std::int64_t>(1, 300);
    const auto width = input.ConsumeIntegralInRange<std::int64_t>(1, 300);
    const bool many = contract.color == Color::channels;
    const int channels = many ? contract.channels() : input.ConsumeBool() ? 3 : 1;
    const auto item = Frame::item_bytes(contract.frame_dtype);
    const auto column_gap = input.ConsumeIntegralInRange<std::int64_t>(0, 2);
    const auto row_gap = input.ConsumeIntegralInRange<std::int64_t>(0, 20);
    const bool mirrored = input.ConsumeBool();
    const bool upside_down = input.ConsumeBool();
    const bool channels_reversed = input.ConsumeBool();

    Frame frame;
    frame.height = height;
    frame.width = width;
    frame.channels = channels;
    frame.color = input.ConsumeBool() ? Color::bgr : Color::rgb;
    frame.dtype = contract.frame_dtype;
    frame.channel_stride = item;
    frame.column_stride = channels * item + column_gap;
    frame.row_stride = width * frame.column_stride + row_gap;
    const auto bytes =
        static_cast<std::size_t>((height - 1) * frame.row_stride + (width - 1) * frame.column_stride + channels * item);
    std::vector<std::uint8_t> pixels(bytes);
    std::uint32_t state = input.ConsumeIntegral<std::uint32_t>() | 1U;
    for (auto &value : pixels) value = static_cast<std::uint8_t>((state = state * 1664525U + 1013904223U) >> 24);
    frame.data = pixels.data();
    if (upside_down) {
        frame.data += (height - 1) * frame.row_stride;
        frame.row_stride = -frame.row_stride;
    }
    if (mirrored) {
        frame.data += (width - 1) * frame.column_stride;
        frame.column_stride = -frame.column_stride;
    }
    if (channels_reversed) {
        frame.data += (channels - 1) * item;
        frame.channel_stride = -item;
    }
    try {
        std::vector<std::uint8_t> first;
        for (const std::string &simd : simd_levels()) {
            Preprocessor preprocess(contract, {1, simd});
            std::vector<std::uint8_t> tensor(contract.slot_bytes());
            preprocess(frame, tensor.data());
            if (first.empty()) first = tensor;
            if (first != tensor) std::abort();
        }
    } catch (const Error &) {
    }
    return 0;
}
