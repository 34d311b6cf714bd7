#include "kernels_x86.h"

namespace edgeproof::detail {
namespace {

struct Avx512 {
    using Rows = __m512i;
    static constexpr int rows = 4;

    static Rows all(int value) { return _mm512_set1_epi32(value); }
    static Rows in_every_lane(__m128i value) { return _mm512_broadcast_i32x4(value); }
    static Rows load_rows(const std::uint8_t *const *row, std::int64_t offset) {
        const __m256i a =
            _mm256_inserti128_si256(_mm256_castsi128_si256(load(row[0] + offset)), load(row[1] + offset), 1);
        const __m256i b =
            _mm256_inserti128_si256(_mm256_castsi128_si256(load(row[2] + offset)), load(row[3] + offset), 1);
        return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
    }
    static Rows shuffle(Rows bytes, Rows order) { return _mm512_shuffle_epi8(bytes, order); }
    static Rows add(Rows a, Rows b) { return _mm512_add_epi32(a, b); }
    static Rows multiply_add(Rows total, Rows pixels, Rows weights) {
        return _mm512_dpwssd_epi32(total, pixels, weights);
    }
    static Rows sum_of_lane(Rows v) {
        v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_BADC));
        return _mm512_add_epi32(v, _mm512_shuffle_epi32(v, _MM_PERM_CDAB));
    }
    static __m128i clamp(Rows total) {
        const Rows v = _mm512_srai_epi32(total, precision_bits);
        return _mm512_cvtusepi32_epi8(_mm512_max_epi32(v, _mm512_setzero_si512()));
    }
    static void finish(Rows high, Rows low, std::uint32_t *pixels) {
        const __m128i bytes = clamp(_mm512_add_epi32(_mm512_slli_epi32(high, low_bits), low));
        _mm_storeu_si128(reinterpret_cast<__m128i *>(pixels), bytes);
    }

    static Rows widen(const std::uint8_t *from) { return _mm512_cvtepu8_epi32(load(from)); }
    static Rows multiply(Rows a, Rows b) { return _mm512_mullo_epi32(a, b); }
    static void store_columns(Rows total, std::uint8_t *to) {
        _mm_storeu_si128(reinterpret_cast<__m128i *>(to), clamp(total));
    }
};

}  // namespace

// Cascade Lake, Ice Lake, Zen 4 and later; the first AVX-512 processors lack VNNI and run the AVX2 kernels.
const Kernels avx512_kernels = {"avx512",
                                [] {
                                    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                                           __builtin_cpu_supports("avx512vnni");
                                },
                                horizontal_rgb<Avx512>,
                                horizontal_gray<Avx512>,
                                horizontal_many,
                                vertical<VerticalBlock<Avx512>>,
                                luma};

}  // namespace edgeproof::detail
