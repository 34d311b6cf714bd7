#include "sha256_blocks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace edgeproof {

#if defined(__x86_64__)

namespace {

/// The SHA extensions of Intel and AMD. Each step of the inner loop is four rounds.
__attribute__((target("sha,sse4.1"))) void blocks(std::uint32_t *state, const unsigned char *bytes, std::size_t count) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    auto *words = reinterpret_cast<__m128i *>(state);
    // The instructions take the state as ABEF and CDGH.
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xB1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1B);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xF0);
    for (; count > 0; --count, bytes += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; ++i)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i *>(bytes) + i), big_endian);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            const auto *constants = reinterpret_cast<const __m128i *>(sha256_constants) + i;
            const __m128i sum = _mm_add_epi32(w[i % 4], _mm_load_si128(constants));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
            if (i >= 12) continue;
            const __m128i last = w[(i + 3) % 4];
            const __m128i seventh = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
            w[i % 4] =
                _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]), seventh), last);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
}

}  // namespace

Sha256Blocks sha256_blocks_of_cpu() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    // GCC 12 knows no __builtin_cpu_supports("sha"): leaf 7, bit 29 of EBX.
    const bool has_sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1U) != 0;
    return has_sha && __builtin_cpu_supports("sse4.1") != 0 ? blocks : nullptr;
}

#elif defined(__aarch64__) && defined(__linux__)

namespace {

#if defined(__clang__)
#define EDGEPROOF_SHA2 __attribute__((target("sha2")))
#else
#define EDGEPROOF_SHA2 __attribute__((target("+crypto")))
#endif

/// The cryptographic extension of ARMv8. Each step of the inner loop is four rounds.
EDGEPROOF_SHA2 void blocks(std::uint32_t *state, const unsigned char *bytes, std::size_t count) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; count > 0; --count, bytes += 64) {
        const uint32x4_t abcd_before = abcd, efgh_before = efgh;
        uint32x4_t w[4];
        for (int i = 0; i < 4; ++i) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(bytes + 16 * i)));
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
            const uint32x4_t sum = vaddq_u32(w[i % 4], vld1q_u32(sha256_constants + 4 * i)), before = abcd;
            abcd = vsha256hq_u32(abcd, efgh, sum);
            efgh = vsha256h2q_u32(efgh, before, sum);
            if (i < 12)
                w[i % 4] = vsha256su1q_u32(vsha256su0q_u32(w[i % 4], w[(i + 1) % 4]), w[(i + 2) % 4], w[(i + 3) % 4]);
        }
        abcd = vaddq_u32(abcd, abcd_before);
        efgh = vaddq_u32(efgh, efgh_before);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

}  // namespace

Sha256Blocks sha256_blocks_of_cpu() { return (::getauxval(AT_HWCAP) & HWCAP_SHA2) != 0 ? blocks : nullptr; }

#else

Sha256Blocks sha256_blocks_of_cpu() { return nullptr; }

#endif

}  // namespace edgeproof
