#include <cstring>

#include "check.h"
#include "edgeproof/json.h"
#include "edgeproof/preprocess.h"
#include "npy.h"

namespace {

const std::string folder = GOLDEN_DIR "/";

edgeproof::Frame frame_of(const Npy &npy, edgeproof::Color color) {
    const int channels = npy.shape.size() == 3 ? static_cast<int>(npy.shape[2]) : 1;
    const auto dtype = npy.dtype == "<u2"   ? edgeproof::FrameDtype::uint16
                       : npy.dtype == "<f4" ? edgeproof::FrameDtype::float32
                                            : edgeproof::FrameDtype::uint8;
    return edgeproof::Frame::packed(reinterpret_cast<const std::uint8_t *>(npy.bytes.data()), npy.shape[0],
                                    npy.shape[1], channels, color, 0, dtype);
}

}  // namespace

TEST(every_golden_case_on_every_simd_level_with_one_thread_and_three) {
    const auto cases = edgeproof::json::parse(read_text(folder + "cases.json"));
    CHECK(cases.array().size() > 100);
    for (const std::string &simd : edgeproof::simd_levels())
        for (const int threads : {1, 3})
            for (const auto &golden : cases.array()) {
                const Npy pixels = read_npy(folder + golden.at("frame").string());
                const Npy expected = read_npy(folder + golden.at("tensor").string());
                const auto color = edgeproof::parse_color(golden.at("color").string());
                edgeproof::Preprocessor preprocess(edgeproof::contract_from_json(golden.at("contract")),
                                                   {threads, simd});
                // a vector of its own for every tensor, so that a sanitizer sees a write past its end
                std::vector<char> tensor(preprocess.contract().slot_bytes());
                preprocess(frame_of(pixels, color), tensor.data());
                CHECK_WITH(tensor == expected.bytes, golden.at("tensor").string() + " on " + simd);
            }
}
