#include <set>
#include <string>
#include <string_view>

#include "check.h"
#include "edgeproof/failure.h"
#include "edgeproof/spec.h"
#include "tasks/registry.h"

using namespace edgeproof;
using namespace edgeproof::app;

namespace {

/// A bundle of one of the tasks, as far as its task looks at it.
Bundle bundle_of(const std::string &task, const std::string &settings = "{}") {
    Bundle bundle;
    bundle.task = task;
    bundle.manifest = json::parse(settings);
    if (task == "generate") {
        bundle.latent = LatentInput{4, 0.0, 1.0, 1};
        bundle.outputs = {{"image", {1, 8, 8}, "none"}};
    } else if (task == "reconstruct") {
        bundle.outputs = {{"image", {3, 8, 8}, "none"}, {"heat_map", {8, 8}, "none"}, {"score", {1}, "none"}};
    } else if (task == "multilabel") {
        bundle.outputs = {{"probabilities", {2}, "sigmoid"}};
    } else {
        bundle.outputs = {{"logits", {2}, "none"}};
    }
    return bundle;
}

constexpr const char *thresholds = R"({"multilabel": {"thresholds": [0.25, 0.5]}})";
constexpr const char *threshold = R"({"anomaly": {"threshold": 0.5}})";

/// What the refusal says; empty where there is none.
std::string refusal(const Bundle &bundle) {
    try {
        task_of(bundle);
    } catch (const Failure &failure) {
        return failure.code == ExitCode::bad_input ? failure.what() : "another exit code";
    }
    return {};
}

bool says(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(records_are_whole) {
    std::set<std::string> names;
    for (const Task &task : tasks()) {
        CHECK(names.insert(task.name).second);
        CHECK(task.check != nullptr);
        CHECK(task.golden_inputs != nullptr);
        CHECK((task.judge == nullptr) == (task.section == nullptr));
        CHECK_WITH(task.judge == nullptr || task.head != nullptr, std::string(task.name));
    }
    CHECK(names.size() == task_names.size());  // spec.json lists them
    for (const std::string_view name : task_names) CHECK_WITH(names.count(std::string(name)) == 1, std::string(name));
}

TEST(a_bundle_finds_the_record_of_its_task) {
    CHECK(task_of(bundle_of("classify")).name == std::string("classify"));
    CHECK(task_of(bundle_of("reconstruct", threshold)).name == std::string("reconstruct"));
    CHECK(task_of(bundle_of("multilabel", thresholds)).name == std::string("multilabel"));
    CHECK(task_of(bundle_of("generate")).name == std::string("generate"));
}

TEST(an_anomaly_model_need_not_reconstruct_the_image) {
    Bundle bundle = bundle_of("reconstruct", threshold);
    bundle.outputs.erase(bundle.outputs.begin());
    CHECK(task_of(bundle).name == std::string("reconstruct"));
}

TEST(an_unknown_task_is_refused) {
    const std::string text = refusal(bundle_of("segment"));
    CHECK_WITH(says(text, "unknown task") && says(text, "classify, multilabel, reconstruct, generate"), text);
}

TEST(a_task_without_what_it_needs_is_refused) {
    CHECK(says(refusal(bundle_of("reconstruct")), "no anomaly"));
    CHECK(says(refusal(bundle_of("classify", threshold)), "got:      anomaly"));
    CHECK(says(refusal(bundle_of("reconstruct", R"({"anomaly": {"threshold": "high"}})")), "invalid settings"));
    CHECK(says(refusal(bundle_of("reconstruct", R"({"anomaly": {}})")), "invalid settings"));
    CHECK(says(refusal(bundle_of("multilabel")), "no multilabel"));
    CHECK(says(refusal(bundle_of("multilabel", R"({"multilabel": {"thresholds": [0.5]}})")), "one per class"));
    CHECK(says(refusal(bundle_of("multilabel", R"({"multilabel": {"thresholds": [0.5, 1.5]}})")), "must be in [0, 1]"));
    CHECK(says(refusal(bundle_of("multilabel", R"({"multilabel": {"thresholds": 0.5}})")), "invalid settings"));
    Bundle logits = bundle_of("multilabel", thresholds);
    logits.outputs.front().activation = "none";
    CHECK(says(refusal(logits), "activation sigmoid"));
    Bundle latent = bundle_of("generate");
    latent.task = "classify";
    CHECK(says(refusal(latent), "a latent input"));
    Bundle frames = bundle_of("classify");
    frames.task = "generate";
    CHECK(says(refusal(frames), "an input contract"));
    Bundle outputs = bundle_of("reconstruct", threshold);
    outputs.outputs.pop_back();
    CHECK(says(refusal(outputs), "not those of the task"));
    outputs.outputs.pop_back();
    CHECK(says(refusal(outputs), "not those of the task"));
    Bundle image = bundle_of("generate");
    image.outputs.front().shape = {3, 8, 8};
    CHECK(says(refusal(image), "not an image"));
    Bundle map = bundle_of("classify");
    map.outputs.front().shape = {2, 8, 8};
    CHECK(says(refusal(map), "one score per class"));
}
