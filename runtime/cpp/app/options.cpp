#include "options.h"

#include <cstdlib>
#include <cstring>

#include "edgeproof/cores.h"
#include "edgeproof/failure.h"
#include "edgeproof/frame_health.h"
#include "edgeproof/spec.h"
#include "engines/catalog.h"
#include "system/units.h"

namespace edgeproof::app {
namespace {

constexpr std::int64_t max_frames_limit = std::int64_t{1} << 53;
constexpr std::int64_t max_decode_threads = 64;

std::int64_t positive(const std::string &name, const std::string &text, std::int64_t largest) {
    const auto value = number_of<std::int64_t>(text);
    if (!value || *value < 1 || *value > largest)
        throw bad_input(name + ": not a number in range", "'" + text + "'", "1.." + std::to_string(largest));
    return *value;
}

double share(const std::string &name, const std::string &text) {
    const auto value = number_of<double>(text);
    if (!value || !(*value >= 0 && *value <= 1))
        throw bad_input(name + ": not a number in range", "'" + text + "'", "0 to 1");
    return *value;
}

std::uint64_t seed_of(const std::string &text) {
    const auto value = number_of<std::uint64_t>(text);
    if (!value) throw bad_input("--seed: not a number in range", "'" + text + "'", "0 to 2**64 - 1");
    return *value;
}

void set_option(Options &options, const std::string &name, const std::string &value) {
    if (name == "--source") {
        options.source = value;
    } else if (name == "--labels-from") {
        if (value != "parent") throw bad_input("--labels-from: unknown value", value, "parent");
        options.label_by_folder = true;
    } else if (name == "--engine") {
        options.engine = value;
    } else if (name == "--precision") {
        options.precision = value;
    } else if (name == "--trust") {
        if (value.empty()) throw bad_input("--trust: requires a file", {}, "a key, certificates or a policy");
        options.trust = value;
    } else if (name == "--threads") {
        options.threads = static_cast<int>(positive(name, value, usable_cores() * spec::max_per_core));
    } else if (name == "--decode-threads") {
        options.source_options.decode_threads = static_cast<int>(positive(name, value, max_decode_threads));
    } else if (name == "--open-timeout") {
        options.source_options.limits.open_s = parse_duration(name, value);
    } else if (name == "--read-timeout") {
        options.source_options.limits.read_s = parse_duration(name, value);
    } else if (name == "--rotate") {
        options.source_options.rotate = parse_rotation_angle(value);
    } else if (name == "--crop") {
        options.source_options.crop = parse_crop(value);
    } else if (name == "--rate-limit") {
        options.source_options.rate_limit_fps = parse_rate_limit(value);
    } else if (name == "--every") {
        options.source_options.every_s = parse_duration(name, value);
    } else if (name == "--on-motion") {
        options.source_options.on_motion = parse_share(name, value);
    } else if (name == "--predictions") {
        options.predictions = value;
    } else if (name == "--rotate-files") {
        options.rotation = parse_rotation(value);
    } else if (name == "--json") {
        options.json = value;
    } else if (name == "--health") {
        options.health = value;
    } else if (name == "--classify-unhealthy") {
        options.classify_unhealthy = value;
    } else if (name == "--threshold") {
        options.threshold = share(name, value);
    } else if (name == "--unknown") {
        options.unknown = parse_unknown(value);
        options.unknown_text = value;
    } else if (name == "--sample") {
        options.sample = positive(name, value, spec::max_samples);
    } else if (name == "--seed") {
        options.seed = seed_of(value);
    } else if (name == "--grid") {
        options.grid = value;
    } else if (name == "--max-frames") {
        options.max_frames = positive(name, value, max_frames_limit);
    } else {
        throw bad_input(name + ": unknown option", {}, {}, "edgeproof-run --help");
    }
}

void check(const Options &options) {
    if (options.bundle.empty()) throw bad_input("BUNDLE: required", {}, {}, "edgeproof-run --help");
    if (options.source.empty() && !options.verify && !options.sample)
        throw bad_input("--source: required", {}, "--source SRC, or --verify", "edgeproof-run --help");
    if (options.verify && (!options.source.empty() || options.predictions || options.max_frames || options.sample ||
                           options.label_by_folder || options.threshold || options.unknown))
        throw bad_input("--verify: replays the golden cases and takes no source", {}, {}, "run the program twice");
    if (options.sample.has_value() != options.grid.has_value() || (options.sample && !options.source.empty()))
        throw bad_input("--sample: requires --grid, and takes no source", {}, "--sample N --grid out.png");
    parse_health(options.health, options.classify_unhealthy);  // refused before anything opens
    if (!options.precision.empty() && !has_name(precision_names, options.precision))
        throw bad_input("unknown precision", options.precision, list_of(precision_names));
}

}  // namespace

Options parse_options(int count, const char *const *arguments) {
    Options options;
    for (int i = 1; i < count; ++i) {
        const std::string argument = arguments[i];
        const std::size_t equals = argument.find('=');
        if (argument == "--help" || argument == "-h") {
            options.help = true;
            return options;
        }
        if (argument == "--version") {
            options.version = true;
            return options;
        }
        if (argument == "--verify") {
            options.verify = true;
        } else if (argument == "--loop") {
            options.source_options.loop = true;
        } else if (argument == "--hardware-decode") {
            options.source_options.hardware_decode = true;
        } else if (argument.compare(0, 2, "--") != 0) {
            if (!options.bundle.empty()) throw bad_input("BUNDLE: given twice", argument, {}, "edgeproof-run --help");
            options.bundle = argument;
        } else if (equals != std::string::npos) {
            set_option(options, argument.substr(0, equals), argument.substr(equals + 1));
        } else if (i + 1 < count) {
            set_option(options, argument, arguments[++i]);
        } else {
            throw bad_input(argument + ": unknown option, or its value is missing", {}, {}, "edgeproof-run --help");
        }
    }
    check(options);
    if (const char *trust = std::getenv(spec::signing_variable.data()); trust != nullptr && options.trust.empty())
        options.trust = trust;
    return options;
}

std::string usage() {
    std::string engines;
    for (const std::string &name : engine_names()) engines += name + "|";
    return "Usage: edgeproof-run BUNDLE --source SRC [options]\n"
           "       edgeproof-run BUNDLE --verify [options]\n"
           "       edgeproof-run BUNDLE --sample N --grid out.png [options]\n"
           "\n"
           "Run a bundle on a camera, video, image, folder, stream or pipeline, without Python.\n"
           "\n"
           "  --source SRC          0, /dev/video0, clip.mp4, cat.jpg, a folder, 'clips/*.mp4', - (standard input), a FIFO,\n"
           "                        rtsp://..., '... ! appsink'\n"
           "  --labels-from parent  label images with the name of their folder: accuracy, or AUROC of defects\n"
           "  --verify              replay the bundle's golden cases; exit with 1 if a gate fails\n"
           "  --sample N            generate N images, side by side in the image of --grid\n"
           "  --grid FILE.png       image that --sample writes\n"
           "  --seed N              seed of --sample: the images of edgeproof sample --seed N (default 0)\n"
           "  --engine E            " +
           engines +
           "auto: the first of these that loads the model (default auto)\n"
           "  --precision P         fp32, fp16 or int8, if the bundle has it (default: the exported model's)\n"
           "  --trust FILE          require a signature by this public key (PEM), by certificates of these authorities, or\n"
           "                        as a policy NAME.toml says (default: $EDGEPROOF_TRUST)\n"
           "  --threads N           CPU threads of the engine (default: the engine's)\n"
           "  --decode-threads N    threads that decode a video (default: 1 for streams; files: the cores, or 1)\n"
           "  --rotate DEGREES      rotate frames clockwise: 0, 90, 180 or 270\n"
           "  --crop X,Y,WIDTH,HEIGHT\n"
           "                        use only this part of the rotated frame\n"
           "  --rate-limit FPS      most frames per second: further frames of a camera are left out; a file is read at\n"
           "                        this pace\n"
           "  --every TIME          classify one frame each TIME; with --on-motion, while nothing moves (default 10)\n"
           "  --on-motion SHARE     classify while at least this share of the frame changes, such as 0.005, and for 2 s\n"
           "                        after\n"
           "  --loop                restart a file or folder at its end\n"
           "  --hardware-decode     decode on the GPU (CUDA, QSV, VA-API) if FFmpeg supports it; the output says if not\n"
           "  --open-timeout TIME   time limit of a network source until it is open (default 10s)\n"
           "  --read-timeout TIME   time limit of a network source for its next data (default 5s)\n"
           "  --predictions FILE    append one JSON line per frame\n"
           "  --rotate-files WHEN   set the file of --predictions aside and begin a new one: day, or at a size (100MB)\n"
           "  --health LIMITS       limits of healthy frames: off, or NAME=LIMIT,... of damaged, frozen, change, black,\n"
           "                        overexposed, covered, blurred; unhealthy frames are left out and counted\n"
           "  --classify-unhealthy CAUSES\n"
           "                        classify unhealthy frames all the same: all, or causes separated by commas\n"
           "  --threshold P         call a prediction unsure below this probability, 0 to 1\n"
           "  --unknown SCORE:LIMIT say unknown below a score: max-probability:P, margin:P or energy:NUMBER\n"
           "  --json FILE           write the report; - is stdout\n"
           "  --max-frames N        stop after N frames\n"
           "  --version, --help\n"
           "\n"
           "Exit codes: 0 success, 1 a gate failed, 2 bad usage or input, 3 not available on this machine or in this "
           "build, 70 a fault of the program.\n"
           "\n"
           "Examples:\n"
           "  edgeproof-run model.edge --source 0\n"
           "  edgeproof-run model.edge --source clip.mp4 --predictions clip.jsonl --json report.json\n"
           "  edgeproof-run model.edge --verify --engine openvino\n";
}

}  // namespace edgeproof::app
