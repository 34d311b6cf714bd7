#include "check.h"
#include "core/npy.h"
#include "edgeproof/error.h"
#include "edgeproof/json.h"
#include "edgeproof/spec.h"

using namespace edgeproof;

namespace {

/// The bytes of a golden document: pieces in hexadecimal, each repeated.
std::string content_of(const json::Value &golden) {
    std::string content;
    for (const auto &part : golden.at("parts").array()) {
        const std::string &digits = part.array()[0].string();
        std::string piece;
        for (std::size_t at = 0; at < digits.size(); at += 2)
            piece += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
        for (int times = part.array()[1].integer(); times > 0; --times) content += piece;
    }
    return content;
}

template <class Action>
bool accepted(Action action) {
    try {
        action();
        return true;
    } catch (const Error &error) {
        CHECK(error.kind == Error::Kind::json);
        return false;
    }
}

}  // namespace

TEST(golden_documents_are_accepted_and_refused_as_in_python) {
    const auto cases = json::parse(read_text(GOLDEN_DIR "/documents.json"));
    CHECK(cases.array().size() > 100);
    for (const auto &golden : cases.array()) {
        const std::string content = content_of(golden);
        const bool wanted = golden.at("accepted").boolean();
        CHECK_WITH(accepted([&content] { json::parse(content); }) == wanted, golden.at("what").string());
        CHECK_WITH(accepted([&content] { json::check(content, spec::max_json_bytes); }) == wanted,
                   golden.at("what").string());
    }
}

TEST(an_object_of_many_names_takes_linear_time) {
    std::string text = "{\"x\": 0";
    for (int i = 0; i < 400'000; ++i) text += ", \"" + std::to_string(i) + "\": 0";
    CHECK(json::parse(text + "}").object().size() == 400'001);
    CHECK_THROWS(json::parse(text + ", \"7\": 0}"), json);
}

TEST(another_bound_on_the_size) {
    json::check("[1, 2]", 6);
    CHECK_THROWS((json::check("[1, 2]", 5), 0), json);
}
