// What a source of edgeproof-run gives, for tests in Python: frames_of SOURCE [RAW [MOST]]
//
// Prints a JSON line for each frame and one for the source; writes the pixels (BGR, row by row) to the file RAW.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "edgeproof/failure.h"
#include "edgeproof/redact.h"
#include "json_text.h"
#include "sources/opening.h"

using namespace edgeproof;
using namespace edgeproof::app;

namespace {

json::Value number_or_null(const std::optional<std::int64_t> &value) {
    return value ? integer(static_cast<double>(*value)) : json::Value{};
}

void print(const Captured &frame) {
    const json::Object line{{"index", integer(static_cast<double>(frame.index))},
                            {"name", {frame.name}},
                            {"media_ns", number_or_null(frame.media_ns)},
                            {"damage", {frame.damage}},
                            {"width", integer(frame.image.cols)},
                            {"height", integer(frame.image.rows)}};
    std::puts(to_text(json::Value{line}).c_str());
}

void print(const Source &source) {
    json::Array skipped;
    for (const std::string &one : source.skipped) skipped.push_back({one});
    const json::Object line{{"name", {source.name}},
                            {"live", {source.live}},
                            {"fps", source.fps ? number(*source.fps) : json::Value{}},
                            {"frame_count", number_or_null(source.frame_count)},
                            {"skipped", {skipped}}};
    std::puts(to_text(json::Value{line}).c_str());
}

}  // namespace

int main(int count, char **arguments) {
    if (count < 2) return 2;
    const long most = count > 3 ? std::atol(arguments[3]) : -1;
    std::ofstream raw(count > 2 ? arguments[2] : "/dev/null", std::ios::binary);
    try {
        const std::unique_ptr<Source> source = open_source(arguments[1], false);
        for (long given = 0; given != most; ++given) {
            const std::optional<Captured> frame = source->next();
            if (!frame) break;
            print(*frame);
            for (int row = 0; row < frame->image.rows; ++row)
                raw.write(frame->image.ptr<char>(row), static_cast<std::streamsize>(frame->image.cols) * 3);
        }
        print(*source);
    } catch (const Failure &failure) {
        std::fprintf(stderr, "%s\n", redact(failure.what()).c_str());
        return static_cast<int>(failure.code);
    }
    return 0;
}
