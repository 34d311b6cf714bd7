#include "report/predictions.h"

#include "edgeproof/failure.h"
#include "json_text.h"

namespace edgeproof::app {

Predictions::Predictions(const std::filesystem::path &path) : path_(path), file_(path, std::ios::binary) {
    if (!file_) throw bad_input("cannot write predictions to " + path.string());
}

void Predictions::write(const std::string &stream, const Captured &frame, const Decided &decided) {
    json::Object stages;
    for (std::size_t i = 0; i < stage_names.size(); ++i)
        stages.emplace_back(stage_names[i], number(decided.stages_ms[i]));
    json::Object line{{"stream", {stream}},
                      {"index", integer(static_cast<double>(frame.index))},
                      {"name", {frame.name}},
                      {"captured_unix_s", number(unix_seconds(frame.captured_ns))},
                      {"label", frame.label ? json::Value{*frame.label} : json::Value{}}};
    for (auto &member : decided.decision->to_json()) line.push_back(std::move(member));
    line.emplace_back("stages_ms", json::Value{stages});
    if (!(file_ << to_text({line}) << '\n' << std::flush))
        throw bad_input("cannot write predictions to " + path_.string());
}

}  // namespace edgeproof::app
