#include "sha256.h"

#include <algorithm>
#include <cstring>

#include "sha256_blocks.h"

namespace edgeproof {
namespace {

constexpr std::uint32_t rotate_right(std::uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

void add_block(std::uint32_t *state, const unsigned char *bytes) {
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i)
        w[i] = static_cast<std::uint32_t>(bytes[4 * i]) << 24 | static_cast<std::uint32_t>(bytes[4 * i + 1]) << 16 |
               static_cast<std::uint32_t>(bytes[4 * i + 2]) << 8 | bytes[4 * i + 3];
    for (int i = 16; i < 64; ++i) {
        const std::uint32_t s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ (w[i - 15] >> 3);
        const std::uint32_t s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    std::uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    std::uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; ++i) {
        const std::uint32_t sum1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        const std::uint32_t t1 = h + sum1 + ((e & f) ^ (~e & g)) + sha256_constants[i] + w[i];
        const std::uint32_t sum0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        const std::uint32_t t2 = sum0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    const std::uint32_t after[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += after[i];
}

void add_blocks(std::array<std::uint32_t, 8> &state, const unsigned char *bytes, std::size_t count) {
    static const Sha256Blocks of_cpu = sha256_blocks_of_cpu();
    (of_cpu != nullptr ? of_cpu : sha256_blocks_portable)(state.data(), bytes, count);
}

}  // namespace

void Sha256::update(std::string_view bytes) {
    size_bytes_ += bytes.size();
    const auto *at = reinterpret_cast<const unsigned char *>(bytes.data());
    std::size_t left = bytes.size();
    while (left > 0) {
        if (filled_ == 0 && left >= pending_.size()) {
            const std::size_t blocks = left / pending_.size();
            add_blocks(state_, at, blocks);
            at += blocks * pending_.size();
            left -= blocks * pending_.size();
            continue;
        }
        const std::size_t take = std::min(left, pending_.size() - filled_);
        std::memcpy(pending_.data() + filled_, at, take);
        filled_ += take;
        at += take;
        left -= take;
        if (filled_ == pending_.size()) {
            add_blocks(state_, pending_.data(), 1);
            filled_ = 0;
        }
    }
}

std::string Sha256::hex() {
    const std::uint64_t size_bits = size_bytes_ * 8;
    std::string padding(1, '\x80');
    padding.append((filled_ < 56 ? 55 : 119) - filled_, '\0');
    for (int shift = 56; shift >= 0; shift -= 8) padding.push_back(static_cast<char>(size_bits >> shift));
    update(padding);
    std::string digits;
    for (const std::uint32_t word : state_)
        for (int shift = 28; shift >= 0; shift -= 4) digits.push_back("0123456789abcdef"[(word >> shift) & 15U]);
    return digits;
}

void sha256_blocks_portable(std::uint32_t *state, const unsigned char *bytes, std::size_t count) {
    for (; count > 0; --count, bytes += 64) add_block(state, bytes);
}

}  // namespace edgeproof
