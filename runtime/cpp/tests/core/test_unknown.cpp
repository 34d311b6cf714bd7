#include <cmath>
#include <fstream>
#include <sstream>
#include <vector>

#include "check.h"
#include "edgeproof/error.h"
#include "edgeproof/json.h"
#include "edgeproof/unknown.h"

using namespace edgeproof;

namespace {

json::Value golden() {
    std::ifstream file(std::string(GOLDEN_DIR) + "/unknown.json");
    std::stringstream text;
    text << file.rdbuf();
    return json::parse(text.str());
}

std::vector<float> row_of(const json::Value &values) {
    std::vector<float> row;
    for (const json::Value &value : values.array())
        row.push_back(value.is_null() ? std::nanf("") : static_cast<float>(value.number()));
    return row;
}

}  // namespace

TEST(scores_are_those_of_the_golden_cases) {
    const json::Value cases = golden();
    for (const json::Value &golden_case : cases.at("scores").array()) {
        const std::string name = golden_case.at("score").string();
        const UnknownRule rule = parse_unknown(name + ":0");
        const std::vector<float> row = row_of(golden_case.at("values"));
        const double found = known_score(rule.score, row.data(), row.size());
        const json::Value &expected = golden_case.at("is");
        const bool same = expected.is_null() ? std::isnan(found) : std::abs(found - expected.number()) < 1e-6;
        CHECK_WITH(same, name + ": " + std::to_string(found));
    }
    CHECK(std::isnan(known_score(KnownScore::margin, nullptr, 0)));
}

TEST(rules_are_those_of_the_golden_cases) {
    const json::Value cases = golden();
    for (const json::Value &golden_case : cases.at("rules").array()) {
        const std::string text = golden_case.at("rule").string();
        const json::Value &limit = golden_case.at("limit");
        bool refused = false;
        UnknownRule rule;
        try {
            rule = parse_unknown(text);
        } catch (const Error &) {
            refused = true;
        }
        CHECK_WITH(refused == limit.is_null(), text);
        if (!refused) CHECK_WITH(rule.limit == limit.number(), text);
    }
    const UnknownRule rule = parse_unknown("margin:0.25");
    CHECK(rule.knows(0.25) && !rule.knows(0.2499) && !rule.knows(std::nan("")));
}
