// Where do the instructions of one frame's preprocessing go? For callgrind, which counts instructions, not seconds:
//
//     cmake -S . -B build/profile -DCMAKE_BUILD_TYPE=RelWithDebInfo -DEDGEPROOF_TESTS=OFF && cmake --build build/profile
//     g++ -std=c++17 -O2 -g -Iruntime/cpp/core/include benchmarks/preprocess_profile.cpp ...
//         build/profile/runtime/cpp/core/libedgeproof_core.a -lpthread -o build/profile/profile
//     valgrind --tool=callgrind --callgrind-out-file=build/profile/out ...
//         --toggle-collect='edgeproof::Preprocessor::operator()*' build/profile/profile 1920 1080 10
//     callgrind_annotate build/profile/out
//
// Valgrind knows no AVX-512, so what it sees are the AVX2 kernels.

#include <edgeproof/preprocess.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int count, char **arguments) {
    if (count != 4) return std::fprintf(stderr, "Usage: profile WIDTH HEIGHT FRAMES\n"), 2;
    const int width = std::atoi(arguments[1]);
    const int height = std::atoi(arguments[2]);
    std::vector<unsigned char> pixels(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<unsigned char>(i * 2654435761U >> 24);
    edgeproof::Contract contract;  // shorter side to 256, bilinear, centre crop 224, ImageNet's mean and std
    edgeproof::Preprocessor preprocess(contract);
    std::vector<float> tensor(contract.slot_bytes() / sizeof(float));
    for (int i = 0; i < std::atoi(arguments[3]); ++i)
        preprocess(edgeproof::Frame::packed(pixels.data(), height, width, 3), tensor.data());
    std::printf("%f\n", static_cast<double>(tensor[0]));
}
