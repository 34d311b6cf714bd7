#pragma once

// Reads the little of NumPy's .npy format (version 1.0, C order) that the golden cases use.

#include <cstdint>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

struct Npy {
    std::string dtype;  // "|u1", "<u2", "<f2" or "<f4"
    std::vector<std::int64_t> shape;
    std::vector<char> bytes;
};

inline std::string read_text(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline Npy read_npy(const std::string &path) {
    const std::string text = read_text(path);
    if (text.size() < 10 || text.compare(1, 5, "NUMPY") != 0) throw std::runtime_error("not .npy: " + path);
    const std::size_t header_size = static_cast<unsigned char>(text[8]) + 256U * static_cast<unsigned char>(text[9]);
    const std::string header = text.substr(10, header_size);
    if (header.find("'fortran_order': False") == std::string::npos) throw std::runtime_error("Fortran order: " + path);
    Npy npy;
    npy.dtype = header.substr(header.find("'descr': '") + 10, 3);
    std::string shape = header.substr(header.find("'shape': (") + 10);
    shape.resize(shape.find(')'));
    for (std::size_t at = 0; at < shape.size();) {
        std::size_t used = 0;
        npy.shape.push_back(std::stoll(shape.substr(at), &used));
        at = shape.find(',', at + used);
        at = at == std::string::npos ? shape.size() : shape.find_first_not_of(", ", at);
    }
    npy.bytes.assign(text.begin() + static_cast<std::ptrdiff_t>(10 + header_size), text.end());
    return npy;
}
