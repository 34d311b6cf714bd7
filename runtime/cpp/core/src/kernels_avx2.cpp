#include "kernels_x86.h"

namespace edgeproof::detail {
namespace {

struct Avx2 {
    using Rows = __m256i;
    static constexpr int rows = 2;

    static Rows all(int value) { return _mm256_set1_epi32(value); }
    static Rows in_every_lane(__m128i value) { return _mm256_broadcastsi128_si256(value); }
    static Rows load_rows(const std::uint8_t *const *row, std::int64_t offset) {
        return _mm256_inserti128_si256(_mm256_castsi128_si256(load(row[0] + offset)), load(row[1] + offset), 1);
    }
    static Rows shuffle(Rows bytes, Rows order) { return _mm256_shuffle_epi8(bytes, order); }
    static Rows add(Rows a, Rows b) { return _mm256_add_epi32(a, b); }
    static Rows multiply_add(Rows total, Rows pixels, Rows weights) {
        return _mm256_add_epi32(total, _mm256_madd_epi16(pixels, weights));
    }
    static Rows sum_of_lane(Rows v) {
        v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0x4E));
        return _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0xB1));
    }
    /// The first four bytes of each lane are the lane's four totals, clamped.
    static Rows clamp(Rows total) {
        Rows v = _mm256_srai_epi32(total, precision_bits);
        v = _mm256_packs_epi32(v, v);
        return _mm256_packus_epi16(v, v);
    }
    static void finish(Rows high, Rows low, std::uint32_t *pixels) {
        const Rows v = clamp(_mm256_add_epi32(_mm256_slli_epi32(high, low_bits), low));
        pixels[0] = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(v)));
        pixels[1] = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm256_extracti128_si256(v, 1)));
    }

    static Rows widen(const std::uint8_t *from) {
        return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(from)));
    }
    static Rows multiply(Rows a, Rows b) { return _mm256_mullo_epi32(a, b); }
    static void store_columns(Rows total, std::uint8_t *to) {
        const Rows v = clamp(total);
        const __m128i both = _mm_unpacklo_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i *>(to), both);
    }
};

}  // namespace

const Kernels avx2_kernels = {"avx2",
                              [] { return __builtin_cpu_supports("avx2") != 0; },
                              horizontal_rgb<Avx2>,
                              horizontal_gray<Avx2>,
                              horizontal_many,
                              vertical<VerticalBlock<Avx2>>,
                              luma};

}  // namespace edgeproof::detail
