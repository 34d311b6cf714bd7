#include "report/predictions.h"

#include <chrono>

#include "json_text.h"

namespace edgeproof::app {

Predictions::Predictions(const std::filesystem::path &path, const Rotation &rotation)
    : path_(path), rotation_(rotation) {}

void Predictions::write(const std::string &stream, const Captured &frame, const Decided &decided,
                        std::optional<bool> sure) {
    if (!file_) {
        // Open late: a source without frames leaves no trace in an earlier file.
        file_.emplace(path_, rotation_);
        const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
        file_->write(to_text({json::Object{{"run_began_unix_s", number(now.count())}}}));
    }
    json::Object stages;
    for (std::size_t i = 0; i < stage_names.size(); ++i)
        stages.emplace_back(stage_names[i], number(decided.stages_ms[i]));
    json::Object line{{"stream", {stream}},
                      {"index", integer(static_cast<double>(frame.index))},
                      {"name", {frame.name}},
                      {"captured_unix_s", number(unix_seconds(frame.captured_ns))},
                      {"label", frame.label ? json::Value{*frame.label} : json::Value{}}};
    if (frame.health)
        line.emplace_back("health", json::Value{std::string(name_of(frame_health_names, *frame.health))});
    for (auto &member : decided.decision->to_json()) line.push_back(std::move(member));
    if (sure) line.emplace_back("sure", json::Value{*sure});
    line.emplace_back("stages_ms", json::Value{stages});
    file_->write(to_text({line}));
}

}  // namespace edgeproof::app
