#include "edgeproof/onnx_file.h"

#include <algorithm>
#include <charconv>

#include "edgeproof/error.h"
#include "edgeproof/spec.h"

namespace edgeproof {
namespace {

constexpr int max_nesting = 64;  // protobuf's own parsers stop at 100

/// The messages of onnx.proto that lead to a tensor.
enum class Message { none, model, training, function, graph, node, attribute, sparse, tensor };

Message child(Message message, std::uint64_t field) {
    switch (message) {
        case Message::model:
            return field == 7    ? Message::graph
                   : field == 20 ? Message::training
                   : field == 25 ? Message::function
                                 : Message::none;
        case Message::training: return field == 1 || field == 2 ? Message::graph : Message::none;
        case Message::function:
            return field == 7 ? Message::node : field == 11 ? Message::attribute : Message::none;
        case Message::graph:
            return field == 1    ? Message::node
                   : field == 5  ? Message::tensor
                   : field == 15 ? Message::sparse
                                 : Message::none;
        case Message::node: return field == 5 ? Message::attribute : Message::none;
        case Message::attribute:
            return field == 5 || field == 10    ? Message::tensor
                   : field == 6 || field == 11  ? Message::graph
                   : field == 22 || field == 23 ? Message::sparse
                                                : Message::none;
        case Message::sparse: return field == 1 || field == 2 ? Message::tensor : Message::none;
        default: return Message::none;
    }
}

constexpr std::uint64_t op_type = 4;  // of a node
constexpr std::uint64_t raw_data = 9, external_data = 13, data_location = 14;  // of a tensor
constexpr std::string_view compiled_engine = "EPContext";

[[noreturn]] void refuse(const std::string &what, const std::string &got = {}, const std::string &expected = {}) {
    throw Error(Error::Kind::model, "ONNX file: " + what, got, expected, "export the model again");
}

struct Field {
    std::uint64_t number = 0;
    std::uint64_t value = 0;      ///< of a varint
    std::string_view content;     ///< of a length-delimited field
    std::string_view whole;       ///< with its key
    bool delimited = false;
};

/// Walks the fields of one protobuf message.
class Fields {
  public:
    explicit Fields(std::string_view bytes) : bytes_(bytes) {}

    bool next(Field &field) {
        if (at_ == bytes_.size()) return false;
        const std::size_t begin = at_;
        const std::uint64_t key = varint();
        field = {key >> 3, 0, {}, {}, false};
        switch (key & 7) {
            case 0: field.value = varint(); break;
            case 1: skip(8); break;
            case 2:
                field.delimited = true;
                field.content = skip(varint());
                break;
            case 5: skip(4); break;
            default: refuse("damaged", "an unknown wire type", "a protobuf message");
        }
        field.whole = bytes_.substr(begin, at_ - begin);
        return true;
    }

  private:
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0; shift < 70; shift += 7) {
            if (at_ == bytes_.size()) break;
            const auto byte = static_cast<unsigned char>(bytes_[at_++]);
            if (shift < 64) value |= static_cast<std::uint64_t>(byte & 127U) << shift;
            if (byte < 128) return value;
        }
        refuse("damaged", "a broken number", "a protobuf message");
    }

    std::string_view skip(std::uint64_t size) {
        if (size > bytes_.size() - at_) refuse("truncated", "a field beyond the end", "a protobuf message");
        const std::string_view content = bytes_.substr(at_, size);
        at_ += size;
        return content;
    }

    std::string_view bytes_;
    std::size_t at_ = 0;
};

/// Where an external tensor's values are.
struct Place {
    bool external = false;
    std::string location;
    std::uint64_t offset = 0;
    bool to_end = true;
    std::uint64_t length = 0;
};

std::uint64_t number_from(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
        refuse("external data: offset or length is not a number", std::string(text.substr(0, 32)));
    return value;
}

/// Any data_location that says EXTERNAL counts: parsers differ in which of several they keep.
Place place_of(std::string_view tensor) {
    Place place;
    Field field;
    for (Fields fields(tensor); fields.next(field);) {
        if (field.number == data_location && static_cast<std::uint32_t>(field.value) == 1) place.external = true;
        if (field.number != external_data || !field.delimited) continue;
        std::string_view key, value;
        Field part;
        for (Fields parts(field.content); parts.next(part);) (part.number == 1 ? key : value) = part.content;
        if (key == "location") place.location = value;
        if (key == "offset") place.offset = number_from(value);
        if (key == "length") {
            place.to_end = false;
            place.length = number_from(value);
        }
    }
    if (place.external && place.location.empty()) refuse("external data without a location");
    return place;
}

void collect(Message message, std::string_view bytes, OnnxReferences &found, int nesting) {
    if (nesting > max_nesting) refuse("nested too deeply");
    if (message == Message::tensor) {
        const Place place = place_of(bytes);
        if (place.external && std::find(found.files.begin(), found.files.end(), place.location) == found.files.end())
            found.files.push_back(place.location);
        return;
    }
    Field field;
    for (Fields fields(bytes); fields.next(field);) {
        if (!field.delimited) continue;
        if (message == Message::node && field.number == op_type && field.content == compiled_engine)
            found.compiled = true;
        const Message inner = child(message, field.number);
        if (inner != Message::none) collect(inner, field.content, found, nesting + 1);
    }
}

void put_varint(std::string &out, std::uint64_t value) {
    for (; value >= 128; value >>= 7) out += static_cast<char>(128 | (value & 127));
    out += static_cast<char>(value);
}

void put(std::string &out, std::uint64_t number, std::string_view content) {
    put_varint(out, number << 3 | 2);
    put_varint(out, content.size());
    out += content;
    if (out.size() > static_cast<std::size_t>(spec::max_onnx_bytes))
        refuse("too large with its external data", {}, "below 2 GiB");
}

using Content = std::function<std::string_view(const std::string &)>;

std::string inlined(Message message, std::string_view bytes, const Content &content) {
    std::string out;
    Field field;
    if (message == Message::tensor) {
        const Place place = place_of(bytes);
        if (!place.external) return std::string(bytes);
        for (Fields fields(bytes); fields.next(field);)
            if (field.number != raw_data && field.number != external_data && field.number != data_location)
                out += field.whole;
        const std::string_view file = content(place.location);
        if (place.offset > file.size() || (!place.to_end && place.length > file.size() - place.offset))
            refuse("external data beyond the end of its file", place.location);
        put(out, raw_data, file.substr(place.offset, place.to_end ? std::string_view::npos : place.length));
        return out;
    }
    for (Fields fields(bytes); fields.next(field);) {
        const Message inner = field.delimited ? child(message, field.number) : Message::none;
        if (inner == Message::none)
            out += field.whole;
        else
            put(out, field.number, inlined(inner, field.content, content));
    }
    return out;
}

}  // namespace

OnnxReferences onnx_references(std::string_view model) {
    OnnxReferences found;
    collect(Message::model, model, found, 0);
    return found;
}

std::string with_external_data(std::string_view model, const Content &content) {
    onnx_references(model);  // bounds the nesting
    return inlined(Message::model, model, content);
}

}  // namespace edgeproof
