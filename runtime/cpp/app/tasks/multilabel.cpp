#include "tasks/multilabel.h"

#include <algorithm>
#include <cstdio>

#include "edgeproof/failure.h"
#include "edgeproof/postprocess.h"
#include "json_text.h"
#include "metrics/multilabel.h"
#include "tasks/alternatives.h"
#include "tasks/golden_inputs.h"

namespace edgeproof::app {
namespace {

constexpr std::size_t classes_listed = 5;
constexpr const char *no_label = "none";  // of a frame that shows none of the classes

std::vector<double> thresholds_of(const Bundle &bundle) {
    std::vector<double> thresholds;
    for (const json::Value &value : bundle.manifest.at(multilabel.settings).at("thresholds").array())
        thresholds.push_back(value.number());
    return thresholds;
}

/// Several labels as one text: "cat, dog".
std::string name_of(const Bundle &bundle, const std::vector<std::size_t> &indices) {
    std::string text;
    for (const std::size_t index : indices) text += (text.empty() ? "" : ", ") + bundle.label_of(index);
    return text.empty() ? no_label : text;
}

/// The labels of one frame.
class MultilabelPrediction : public Decision {
  public:
    MultilabelPrediction(const Bundle &bundle, const std::vector<double> &thresholds, std::vector<float> values)
        : probabilities(std::move(values)), bundle_(bundle) {
        for (std::size_t i = 0; i < probabilities.size(); ++i)
            if (static_cast<double>(probabilities[i]) >= thresholds[i]) present_.push_back(i);
        label_ = name_of(bundle, present_);
    }

    const std::string &label() const override { return label_; }

    std::string headline() const override {
        std::string text;
        for (const std::size_t index : present_) {
            char figure[64];
            std::snprintf(figure, sizeof figure, " %.0f%%", 100.0 * static_cast<double>(probabilities[index]));
            text += (text.empty() ? "" : ", ") + bundle_.label_of(index) + figure;
        }
        return text.empty() ? no_label : text;
    }

    json::Object to_json() const override {
        json::Array labels;
        for (const std::size_t index : present_) labels.push_back(entry(index));
        json::Array top;
        for (const Scored &scored : top_k(probabilities.data(), probabilities.size(), classes_listed))
            top.push_back(entry(scored.index));
        return {{"labels", {labels}}, {"top", {top}}};
    }

    const std::vector<float> probabilities;  ///< one per class

  private:
    json::Value entry(std::size_t index) const {
        return {json::Object{{"label", {bundle_.label_of(index)}},
                             {"probability", number(static_cast<double>(probabilities[index]))}}};
    }

    const Bundle &bundle_;
    std::vector<std::size_t> present_;
    std::string label_;
};

class MultilabelHead : public Head {
  public:
    explicit MultilabelHead(const Bundle &bundle) : bundle_(bundle), thresholds_(thresholds_of(bundle)) {}

    std::unique_ptr<Decision> operator()(const Engine &engine) override {
        const float *output = engine.output(0);
        return std::make_unique<MultilabelPrediction>(bundle_, thresholds_,
                                                      std::vector<float>(output, output + bundle_.output_size()));
    }

  private:
    const Bundle &bundle_;
    std::vector<double> thresholds_;
};

/// mAP, precision, recall and F1; a frame's label is "cat|dog" (it shows both) or "none".
class MultilabelJudge : public Judge {
  public:
    explicit MultilabelJudge(const Bundle &bundle) : bundle_(bundle), meter_(thresholds_of(bundle)) {}

    std::string add(const Decision &decision, const std::string &truth, const std::string &frame) override {
        const std::vector<std::size_t> shown = indices_of(truth, frame);
        meter_.add(dynamic_cast<const MultilabelPrediction &>(decision).probabilities, shown);
        return name_of(bundle_, shown);
    }

    std::vector<std::string> lines() const override {
        const json::Value found = meter_.to_json(bundle_.labels);
        std::string line;
        char figures[128];
        if (!found.at("mean_average_precision").is_null()) {
            std::snprintf(figures, sizeof figures, "mAP %.4f, ", found.at("mean_average_precision").number());
            line += figures;
        }
        std::snprintf(figures, sizeof figures, "F1 %.4f micro, %.4f macro, %.2f %% with exactly their labels, n = %d",
                      found.at("micro").at("f1").number(), found.at("macro").at("f1").number(),
                      100 * found.at("exact_match").number(), found.at("n").integer());
        return {line + figures};
    }

    json::Object sections() const override { return {{multilabel.section, meter_.to_json(bundle_.labels)}}; }

  private:
    std::vector<std::size_t> indices_of(const std::string &truth, const std::string &frame) const {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < bundle_.output_size(); ++i) names.push_back(bundle_.label_of(i));
        std::vector<std::size_t> indices;
        if (truth == no_label && std::find(names.begin(), names.end(), no_label) == names.end()) return indices;
        for (const std::string &label : alternatives(truth)) {
            const auto found = std::find(names.begin(), names.end(), label);
            if (found == names.end())
                throw bad_input(frame + ": the model does not know this label", truth,
                                "labels of the bundle, several as cat|dog, or none");
            indices.push_back(static_cast<std::size_t>(found - names.begin()));
        }
        std::sort(indices.begin(), indices.end());
        indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
        return indices;
    }

    const Bundle &bundle_;
    MultilabelMeter meter_;
};

void check(const Bundle &bundle) {
    const OutputEntry &output = bundle.outputs.front();
    if (bundle.outputs.size() != 1 || output.shape.size() != 1 || output.activation != "sigmoid")
        throw bad_input("bundle.json: the outputs are not those of the task multilabel",
                        std::to_string(bundle.outputs.size()) + " outputs, activation " + output.activation,
                        "one output of probabilities, activation sigmoid", "export the bundle again");
    const std::vector<double> thresholds = thresholds_of(bundle);
    if (thresholds.size() != bundle.output_size())
        throw bad_input("bundle.json: multilabel.thresholds must be one per class", std::to_string(thresholds.size()),
                        std::to_string(bundle.output_size()), "export the bundle again");
    for (const double threshold : thresholds)
        if (!(threshold >= 0.0 && threshold <= 1.0))
            throw bad_input("bundle.json: multilabel.thresholds must be in [0, 1]", std::to_string(threshold), {},
                            "export the bundle again");
}

}  // namespace

const Task multilabel{
    "multilabel",
    "gives images any number of labels",
    true,
    "multilabel",
    "multilabel",
    false,
    check,
    [](const Bundle &bundle) -> std::unique_ptr<GoldenInputs> { return std::make_unique<FrameInputs>(bundle); },
    [](const Bundle &bundle) -> std::unique_ptr<Head> { return std::make_unique<MultilabelHead>(bundle); },
    [](const Bundle &bundle) -> std::unique_ptr<Judge> { return std::make_unique<MultilabelJudge>(bundle); },
    nullptr};

}  // namespace edgeproof::app
