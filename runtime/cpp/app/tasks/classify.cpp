#include "tasks/classify.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <string_view>

#include "edgeproof/failure.h"
#include "edgeproof/postprocess.h"
#include "edgeproof/unknown.h"
#include "json_text.h"
#include "metrics/accuracy.h"
#include "tasks/alternatives.h"
#include "tasks/golden_inputs.h"

namespace edgeproof::app {
namespace {

constexpr std::size_t classes_listed = 5;

class Prediction : public Decision {
  public:
    /// `known`: the score that the rule compares.
    Prediction(const Bundle &bundle, std::vector<float> values, const std::optional<UnknownRule> &rule, double known)
        : probabilities(std::move(values)), bundle_(bundle), rule_(rule), known_(known),
          top_(top_k(probabilities.data(), probabilities.size(), classes_listed)),
          label_(unknown() ? "unknown" : nearest()) {}

    const std::string &label() const override { return label_; }
    bool unknown() const override { return rule_ && !rule_->knows(known_); }

    std::optional<double> probability() const override {
        if (unknown()) return std::nullopt;
        return static_cast<double>(top_.front().score);
    }

    std::string headline() const override {
        char figure[64];
        std::snprintf(figure, sizeof figure, " %.0f%%", 100.0 * static_cast<double>(top_.front().score));
        return unknown() ? "unknown (nearest: " + nearest() + figure + ")" : label_ + figure;
    }

    json::Object to_json() const override {
        json::Array entries;
        for (const Scored &scored : top_) {
            entries.push_back({json::Object{{"label", {bundle_.label_of(scored.index)}},
                                            {"probability", number(static_cast<double>(scored.score))}}});
        }
        json::Object found{{"top", {entries}}};
        if (rule_) {
            const std::string_view score = known_score_names[static_cast<std::size_t>(rule_->score)];
            found.emplace_back("unknown", json::Value{json::Object{{"unknown", {unknown()}},
                                                                   {"score", {std::string(score)}},
                                                                   {"value", number(known_)},
                                                                   {"limit", number(rule_->limit)}}});
        }
        return found;
    }

    const std::vector<float> probabilities;  ///< one per class

  private:
    std::string nearest() const { return bundle_.label_of(top_.front().index); }

    const Bundle &bundle_;
    std::optional<UnknownRule> rule_;
    double known_;
    std::vector<Scored> top_;
    std::string label_;
};

class ClassifyHead : public Head {
  public:
    explicit ClassifyHead(const Bundle &bundle, const std::optional<UnknownRule> &rule = std::nullopt)
        : bundle_(bundle), rule_(rule) {}

    std::unique_ptr<Decision> operator()(const Engine &engine) override {
        const float *output = engine.output(0);
        std::vector<float> probabilities(output, output + bundle_.output_size());
        if (bundle_.outputs.front().activation == "none") softmax(probabilities.data(), probabilities.size());
        double known = 0.0;
        if (rule_) {
            const float *values = rule_->score == KnownScore::energy ? output : probabilities.data();
            known = known_score(rule_->score, values, probabilities.size());
        }
        return std::make_unique<Prediction>(bundle_, std::move(probabilities), rule_, known);
    }

  private:
    const Bundle &bundle_;
    std::optional<UnknownRule> rule_;
};

std::unique_ptr<Head> unknown_head(const Bundle &bundle, const UnknownRule &rule) {
    const std::string &activation = bundle.outputs.front().activation;
    if (rule.score == KnownScore::energy && activation != "none")
        throw bad_input(bundle.folder.string() + ": energy requires logits", "outputs after " + activation,
                        "a model without an activation at its end", "use max-probability or margin");
    return std::make_unique<ClassifyHead>(bundle, rule);
}

/// Accuracy; a frame's label is one of the bundle's, a class id, or several with "|".
class ClassJudge : public Judge {
  public:
    explicit ClassJudge(const Bundle &bundle) : bundle_(bundle), meter_(bundle.output_size()) {
        for (const std::vector<std::string> &names : {bundle.labels, bundle.class_ids()})
            for (std::size_t i = 0; i < names.size(); ++i) classes_.emplace(names[i], i);
    }

    std::string add(const Decision &decision, const std::string &truth, const std::string &frame) override {
        const std::vector<float> &probabilities = dynamic_cast<const Prediction &>(decision).probabilities;
        // Several classes may be right, or share a label (ImageNet's crane): the most probable counts.
        std::optional<std::size_t> target;
        for (const std::string &label : alternatives(truth)) {
            const auto [begin, end] = classes_.equal_range(label);
            for (auto found = begin; found != end; ++found)
                if (!target || probabilities[found->second] > probabilities[*target]) target = found->second;
        }
        if (!target) {
            throw bad_input(frame + ": the model does not know this label", truth,
                            "a label or a class id of the bundle");
        }
        meter_.add(probabilities, *target);
        return bundle_.label_of(*target);
    }

    std::vector<std::string> lines() const override {
        const auto [low, high] = meter_.ci95();
        char line[128];
        std::snprintf(line, sizeof line, "top-1 %.2f %%, 95 %% interval %.2f to %.2f %%, n = %lld", 100 * meter_.top1(),
                      100 * low, 100 * high, static_cast<long long>(meter_.n()));
        return {line};
    }

    json::Object sections() const override { return {{classify.section, meter_.to_json(bundle_.labels)}}; }

  private:
    const Bundle &bundle_;
    std::multimap<std::string, std::size_t> classes_;
    AccuracyMeter meter_;
};

void check(const Bundle &bundle) {
    const std::size_t dimensions = bundle.outputs.front().shape.size();
    if (dimensions != 1)
        throw bad_input("bundle.json: the first output must hold one score per class",
                        std::to_string(dimensions) + " dimensions", "one dimension", "export the bundle again");
}

}  // namespace

const Task classify{
    "classify",
    "classifies images",
    true,
    nullptr,
    "accuracy",
    true,
    check,
    [](const Bundle &bundle) -> std::unique_ptr<GoldenInputs> { return std::make_unique<FrameInputs>(bundle); },
    [](const Bundle &bundle) -> std::unique_ptr<Head> { return std::make_unique<ClassifyHead>(bundle); },
    [](const Bundle &bundle) -> std::unique_ptr<Judge> { return std::make_unique<ClassJudge>(bundle); },
    nullptr,
    unknown_head};

}  // namespace edgeproof::app
