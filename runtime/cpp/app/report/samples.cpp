#include "report/samples.h"

#include "json_text.h"

namespace edgeproof::app {
namespace {

constexpr std::size_t most = 12;

/// RFC 4648, section 4.
std::string base64(const std::string &bytes) {
    constexpr const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const auto byte = [&bytes](std::size_t i) {
        return i < bytes.size() ? static_cast<unsigned>(static_cast<unsigned char>(bytes[i])) : 0U;
    };
    std::string text;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        const unsigned group = byte(at) << 16 | byte(at + 1) << 8 | byte(at + 2);
        for (const int shift : {18, 12, 6, 0}) text += digits[group >> shift & 63U];
    }
    const std::size_t padding = (3 - bytes.size() % 3) % 3;
    return text.replace(text.size() - padding, padding, padding, '=');
}

json::Value sample_json(const Sample &sample) {
    return {json::Object{{"name", {sample.name}},
                         {"jpeg", {base64(sample.thumbnail.jpeg)}},
                         {"width", integer(sample.thumbnail.width)},
                         {"height", integer(sample.thumbnail.height)},
                         {"label", {sample.label}},
                         {"probability", sample.probability ? number(*sample.probability) : json::Value{}},
                         {"truth", sample.truth ? json::Value{*sample.truth} : json::Value{}}}};
}

}  // namespace

void Samples::keep(Sample sample) {
    kept_.push_back(std::move(sample));
    if (kept_.size() <= most) return;
    std::vector<Sample> half;
    for (std::size_t i = 0; i < kept_.size(); i += 2) half.push_back(std::move(kept_[i]));
    kept_ = std::move(half);
    stride_ *= 2;
}

json::Value Samples::to_json() const {
    json::Array samples;
    for (const Sample &sample : kept_) samples.push_back(sample_json(sample));
    return {samples};
}

}  // namespace edgeproof::app
