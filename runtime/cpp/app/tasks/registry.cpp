#include "tasks/registry.h"

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "tasks/classify.h"
#include "tasks/generate.h"
#include "tasks/multilabel.h"
#include "tasks/reconstruct.h"

namespace edgeproof::app {

const std::vector<Task> &tasks() {
    static const std::vector<Task> all{classify, multilabel, reconstruct, generate};
    return all;
}

namespace {

constexpr const char *export_again = "export the bundle again";

std::string names() {
    std::string text;
    for (const Task &task : tasks()) text += (text.empty() ? "" : ", ") + std::string(task.name);
    return text;
}

bool has(const json::Value &manifest, const char *key) {
    const json::Value *found = manifest.find(key);
    return found != nullptr && !found->is_null();
}

void check(const Bundle &bundle, const Task &task) {
    const std::string what = "bundle.json: wrong fields for task " + bundle.task;
    if (bundle.latent.has_value() == task.takes_frames)
        throw bad_input(what, task.takes_frames ? "a latent input" : "an input contract",
                        task.takes_frames ? "an input contract" : "a latent input", export_again);
    for (const Task &other : tasks()) {
        if (other.settings == nullptr) continue;
        const bool wanted = other.name == bundle.task;
        if (has(bundle.manifest, other.settings) != wanted)
            throw bad_input(what, std::string(wanted ? "no " : "") + other.settings,
                            std::string(wanted ? "" : "no ") + other.settings, export_again);
    }
    try {
        task.check(bundle);
    } catch (const Error &error) {
        throw bad_input("bundle.json: invalid settings of task " + bundle.task, error.problem, error.expected,
                        export_again);
    }
}

/// For an error: what the bundle's task does.
std::string described(const Task &task) { return std::string("task ") + task.name + ", which " + task.summary; }

}  // namespace

const Task &task_of(const Bundle &bundle) {
    for (const Task &task : tasks()) {
        if (task.name != bundle.task) continue;
        check(bundle, task);
        return task;
    }
    throw bad_input("bundle.json: unknown task", bundle.task, names(), "upgrade edgeproof");
}

std::unique_ptr<Head> head_of(const Bundle &bundle, const std::optional<UnknownRule> &unknown) {
    const Task &task = task_of(bundle);
    if (task.head == nullptr) {
        const std::string folder = bundle.folder.string();
        throw bad_input(folder + ": takes no frames", described(task), "a bundle that takes frames",
                        "edgeproof-run " + folder + " --sample 64 --grid grid.png");
    }
    if (!unknown) return task.head(bundle);
    if (task.unknown_head == nullptr)
        throw bad_input("--unknown: does not apply to " + bundle.folder.string(),
                        described(task) + " by thresholds of its own",
                        "task classify, whose prediction is always one of the classes without a rule", "leave it out");
    return task.unknown_head(bundle, *unknown);
}

std::unique_ptr<Judge> judge_of(const Bundle &bundle) {
    const Task &task = task_of(bundle);
    if (task.judge == nullptr)
        throw bad_input(bundle.folder.string() + ": cannot be evaluated on labelled frames", described(task));
    return task.judge(bundle);
}

void sample(const Bundle &bundle, Engine &engine, const SampleOptions &options) {
    const Task &task = task_of(bundle);
    if (task.sample == nullptr)
        throw bad_input(bundle.folder.string() + ": generates no images", described(task),
                        "a bundle that generates images");
    task.sample(bundle, engine, options);
}

}  // namespace edgeproof::app
