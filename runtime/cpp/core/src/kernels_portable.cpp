#include "kernels_generic.h"

namespace edgeproof::detail {
namespace {

template <int channels>
void horizontal(const std::uint8_t *const rows[kernel_rows], const Taps &taps, std::uint8_t *const out[kernel_rows]) {
    for (int r = 0; r < kernel_rows; ++r)
        for (std::int64_t i = 0; i < taps.outputs; ++i) {
            const std::uint8_t *pixel = rows[r] + std::int64_t{channels} * taps.starts[i];
            const std::int32_t *weights = taps.weights + i * taps.taps;
            for (int c = 0; c < channels; ++c) {
                std::uint32_t total = half;
                for (std::int64_t k = 0; k < taps.taps; ++k)
                    total = add_tap(total, weights[k], pixel[channels * k + c]);
                out[r][channels * i + c] = finish(total);
            }
        }
}

struct Block {
    static constexpr std::int64_t bytes = 16;

    static void make(const std::uint8_t *const *rows, const std::int32_t *weights, std::int64_t count, std::int64_t x,
                     std::uint8_t *out) {
        std::uint32_t total[bytes];
        for (auto &sum : total) sum = half;
        for (std::int64_t k = 0; k < count; ++k) {
            const std::uint8_t *row = rows[k] + x;
            for (std::int64_t i = 0; i < bytes; ++i) total[i] = add_tap(total[i], weights[k], row[i]);
        }
        for (std::int64_t i = 0; i < bytes; ++i) out[x + i] = finish(total[i]);
    }
};

}  // namespace

const Kernels portable_kernels = {"portable",    [] { return true; }, horizontal<3>, horizontal<1>,
                                  horizontal_many, vertical<Block>,    luma};

}  // namespace edgeproof::detail
