#include "report/predictions.h"

#include "edgeproof/failure.h"
#include "json_text.h"

namespace edgeproof::app {
namespace {

json::Value anomaly_json(const Anomaly &anomaly) {
    return {json::Object{{"score", number(static_cast<double>(anomaly.score))},
                         {"threshold", number(anomaly.threshold)},
                         {"defect", {anomaly.defect()}}}};
}

}  // namespace

Predictions::Predictions(const std::filesystem::path &path, const Bundle &bundle)
    : path_(path), bundle_(bundle), file_(path, std::ios::binary) {
    if (!file_) throw bad_input("cannot write predictions to " + path.string());
}

void Predictions::write(const std::string &stream, const Captured &frame, const Decision &decision) {
    json::Object stages;
    for (std::size_t i = 0; i < stage_names.size(); ++i)
        stages.emplace_back(stage_names[i], number(decision.stages_ms[i]));
    const json::Object line{{"stream", {stream}},
                            {"index", integer(static_cast<double>(frame.index))},
                            {"name", {frame.name}},
                            {"captured_unix_s", number(unix_seconds(frame.captured_ns))},
                            {"label", frame.label ? json::Value{*frame.label} : json::Value{}},
                            decision.anomaly
                                ? std::pair<std::string, json::Value>{"anomaly", anomaly_json(*decision.anomaly)}
                                : std::pair<std::string, json::Value>{"top", top_json(decision.top)},
                            {"stages_ms", {stages}}};
    if (!(file_ << to_text({line}) << '\n' << std::flush))
        throw bad_input("cannot write predictions to " + path_.string());
}

json::Value Predictions::top_json(const std::vector<Scored> &top) const {
    json::Array entries;
    for (const Scored &scored : top) {
        entries.push_back({json::Object{{"label", {bundle_.label_of(scored.index)}},
                                        {"probability", number(static_cast<double>(scored.score))}}});
    }
    return {entries};
}

}  // namespace edgeproof::app
