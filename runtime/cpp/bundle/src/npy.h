#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgeproof {

/// An array from a .npy file (NumPy's format, versions 1 to 3; C order, little-endian).
struct Npy {
    std::string dtype;  ///< "|u1", "<u2", "<f2" or "<f4"
    std::vector<std::int64_t> shape;
    std::string bytes;
};

/// Whether bytes begin as a .npy file does.
bool is_npy(const std::string &data);

/// The array in a .npy file's bytes; `name` and `fix` are for messages.
/// Throws `Failure` (bad input): not a .npy file, truncated, or of another dtype or order.
Npy parse_npy(const std::string &data, const std::string &name, const std::string &fix = "export the bundle again");

/// The array's values; half precision is widened. Throws nothing for arrays from `parse_npy`.
std::vector<double> values_of(const Npy &array);

/// IEEE 754 binary16 as a float; exact.
float half_to_float(std::uint16_t half);

}  // namespace edgeproof
