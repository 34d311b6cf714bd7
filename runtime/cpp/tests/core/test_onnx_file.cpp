#include <map>

#include "check.h"
#include "edgeproof/error.h"
#include "edgeproof/onnx_file.h"

using namespace edgeproof;

namespace {

std::string varint(std::uint64_t value) {
    std::string out;
    for (; value >= 128; value >>= 7) out += static_cast<char>(128 | (value & 127));
    return out + static_cast<char>(value);
}

std::string field(std::uint64_t number, const std::string &content) {
    return varint(number << 3 | 2) + varint(content.size()) + content;
}

std::string field(std::uint64_t number, std::uint64_t value) { return varint(number << 3) + varint(value); }

std::string entry(const std::string &key, const std::string &value) { return field(1, key) + field(2, value); }

/// A tensor whose values are in another file.
std::string outside(const std::string &location, std::uint64_t kind = 1) {
    return field(8, "w") + field(13, entry("location", location)) + field(13, entry("offset", "2")) +
           field(13, entry("length", "3")) + field(14, kind);
}

std::string model(const std::string &graph) { return field(1, 8) + field(7, graph); }

std::vector<std::string> files_of(const std::string &bytes) { return onnx_references(bytes).files; }

const std::vector<std::string> found{"w.bin"};

}  // namespace

TEST(external_tensors_are_found_wherever_a_tensor_may_be) {
    const std::string tensor = outside("w.bin");
    const auto node = [](const std::string &attribute) { return field(1, field(4, "Constant") + field(5, attribute)); };
    CHECK(files_of(model(field(5, tensor))) == found);
    CHECK(files_of(model(field(5, field(8, "x") + field(9, "abc")))).empty());
    CHECK(files_of(model(field(15, field(1, tensor)))) == found);
    CHECK(files_of(model(field(15, field(2, tensor)))) == found);
    CHECK(files_of(model(node(field(5, tensor)))) == found);
    CHECK(files_of(model(node(field(10, tensor)))) == found);
    CHECK(files_of(model(node(field(22, field(1, tensor))))) == found);
    CHECK(files_of(model(node(field(23, field(1, tensor))))) == found);
    CHECK(files_of(model(node(field(6, field(5, tensor))))) == found);
    CHECK(files_of(model(node(field(11, node(field(6, field(5, tensor))))))) == found);
    CHECK(files_of(field(25, field(7, field(5, field(5, tensor))))) == found);
    CHECK(files_of(field(25, field(11, field(5, tensor)))) == found);
    CHECK(files_of(field(20, field(1, field(5, tensor)))) == found);
    CHECK(files_of(model("") + model(field(5, tensor))) == found);  // a parser joins both
}

TEST(what_a_parser_may_take_for_external_is_external) {
    CHECK(files_of(model(field(5, outside("w.bin", 0)))).empty());
    CHECK(files_of(model(field(5, outside("w.bin", std::uint64_t{1} << 32 | 1)))) == found);  // an enum has 32 bits
    CHECK(files_of(model(field(5, outside("w.bin") + field(14, 7)))) == found);
    CHECK_THROWS(files_of(model(field(5, field(14, 1)))), model);
}

TEST(a_compiled_engine_in_a_node_is_seen) {
    CHECK(onnx_references(model(field(1, field(4, "EPContext")))).compiled);
    CHECK(!onnx_references(model(field(1, field(4, "Conv")))).compiled);
}

TEST(damaged_bytes_are_refused) {
    for (const std::string &bytes : {std::string("not a model"), std::string("\x3a\xff", 2), std::string(11, '\xff'),
                                     model(field(5, outside("w.bin"))).substr(0, 20)})
        CHECK_THROWS(files_of(bytes), model);
    std::string deep = field(5, outside("w.bin"));
    for (int i = 0; i < 200; ++i) deep = field(1, field(5, field(6, deep)));
    CHECK_THROWS(files_of(model(deep)), model);
}

TEST(external_values_move_into_the_model) {
    const std::map<std::string, std::string> files{{"w.bin", "0123456789"}};
    const auto content = [&files](const std::string &name) { return std::string_view(files.at(name)); };
    const std::string inner = field(8, "w") + field(9, "234");
    const std::string other = field(1, field(4, "Relu")) + field(5, field(9, "abc"));
    const std::string whole = with_external_data(model(other + field(5, outside("w.bin"))), content);
    CHECK(whole == model(other + field(5, inner)));
    CHECK(files_of(whole).empty());
    const std::string beyond = field(8, "w") + field(13, entry("location", "w.bin")) +
                               field(13, entry("offset", "9")) + field(13, entry("length", "2")) + field(14, 1);
    CHECK_THROWS(with_external_data(model(field(5, beyond)), content), model);
    const std::string rest = field(13, entry("location", "w.bin")) + field(13, entry("offset", "7")) + field(14, 1);
    CHECK(with_external_data(model(field(5, rest)), content) == model(field(5, field(9, "789"))));
    const std::string strange = field(13, entry("location", "w.bin")) + field(13, entry("offset", "-1")) + field(14, 1);
    CHECK_THROWS(with_external_data(model(field(5, strange)), content), model);
}
