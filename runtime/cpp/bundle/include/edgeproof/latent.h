#pragma once

#include <cstdint>
#include <vector>

namespace edgeproof {

/// Latent vector number `number` of a seed: the same numbers as `edgeproof_runtime.bundle.latent.latents`, but
/// for the last bit where math libraries differ.
std::vector<float> latent_vector(std::uint64_t seed, std::uint64_t number, std::size_t size);

}  // namespace edgeproof
