#include "engines/trial.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>
#include <utility>

#include "edgeproof/error.h"
#include "edgeproof/failure.h"
#include "files.h"
#include "json_text.h"
#include "sha256.h"

namespace edgeproof::app {
namespace {

constexpr const char *trial_schema = "edgeproof.trial/1";
constexpr double mebibyte = 1 << 20;
constexpr double alike = 0.8;  // a fault found under a limit stands while today's limit is not much higher

/// In the child: no core dump, no output, an end with the parent's, and what the kernel kills first without memory.
void restrain(pid_t parent) {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);  // it ended before
    if (const int score = ::open("/proc/self/oom_score_adj", O_WRONLY); score >= 0) {
        [[maybe_unused]] const ssize_t written = ::write(score, "1000", 4);
        ::close(score);
    }
    const int null = ::open("/dev/null", O_RDWR);
    for (int descriptor = 0; descriptor < 3; ++descriptor) ::dup2(null, descriptor);
}

double used_mib(pid_t child) {
    std::ifstream file("/proc/" + std::to_string(child) + "/statm");
    double size = 0.0, resident = 0.0;
    file >> size >> resident;
    return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / mebibyte;
}

std::string name_of(int number) {
    constexpr std::pair<int, const char *> names[] = {
        {SIGSEGV, "SIGSEGV"}, {SIGFPE, "SIGFPE"}, {SIGABRT, "SIGABRT"}, {SIGILL, "SIGILL"}, {SIGBUS, "SIGBUS"},
        {SIGINT, "SIGINT"},   {SIGHUP, "SIGHUP"}, {SIGTERM, "SIGTERM"},
    };
    for (const auto &[known, name] : names)
        if (known == number) return name;
    return "signal " + std::to_string(number);
}

std::string whole(double value) { return std::to_string(static_cast<long long>(value)); }

Trial outcome_of(int status) {
    Trial trial;
    if (WIFEXITED(status)) {
        const int code = WEXITSTATUS(status);
        trial.done = code == 0;
        if (code > 1) trial.fault = "ends the process on this model (exit code " + std::to_string(code) + ")";
        return trial;
    }
    const int number = WTERMSIG(status);
    trial.fault = "crashes on this model (" + name_of(number) + ")";
    if (number == SIGKILL) {  // not by `try_in_child`: by the kernel
        trial.fault = "was killed on this model (SIGKILL), probably for want of memory";
        trial.lasting = false;
    } else if (number == SIGINT || number == SIGTERM || number == SIGHUP) {
        trial.fault = "could not be tried on this model (the trial was stopped by " + name_of(number) + ")";
        trial.lasting = false;
    }
    return trial;
}

Trial ended(pid_t child, const std::string &fault, const char *exceeded, double limit) {
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    Trial trial;
    trial.fault = fault;
    trial.exceeded = exceeded;
    trial.limit = limit;
    return trial;
}

double from_environment(const char *variable, double otherwise) {
    const char *text = std::getenv(variable);
    const double value = text == nullptr ? 0.0 : std::atof(text);
    return value > 0.0 ? value : otherwise;
}

/// The limits of `edgeproof_runtime.engines.trial`.
TrialLimits limits_of(const std::string &engine, const ModelArtifact &model) {
    double size = 0.0;
    for (const auto &[name, entry] : model.bundle.files)
        if (name.rfind("model", 0) == 0) size = std::max(size, static_cast<double>(entry.size_bytes) / mebibyte);
    double available = 0.0;
    std::ifstream memory("/proc/meminfo");
    for (std::string key; memory >> key;)
        if (key == "MemAvailable:") memory >> available;
    const double mib = std::min(4096.0 + 16.0 * size, available > 0.0 ? 0.9 * available / 1024.0 : 1e9);
    return {from_environment("EDGEPROOF_TRIAL_SECONDS", (engine == "tensorrt" ? 3600.0 : 120.0) + size),
            from_environment("EDGEPROOF_TRIAL_MIB", mib)};
}

/// What identifies this machine: the lines of /proc/cpuinfo that do not change, and the GPU's driver.
std::string machine() {
    std::string text;
    utsname names{};
    if (::uname(&names) == 0) text += names.machine;
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line) && !line.empty();)
        for (const char *key : {"model name", "flags", "Features", "CPU implementer", "CPU part"})
            if (line.rfind(key, 0) == 0) text += "\n" + line;
    std::ifstream driver("/proc/driver/nvidia/version");
    std::string line;
    std::getline(driver, line);
    return text + "\n" + line;
}

std::optional<Trial> read(const std::filesystem::path &path) {
    try {
        const json::Value raw = json::parse(read_file(path, spec::max_json_bytes));
        if (raw.at("schema").string() != trial_schema) return std::nullopt;
        Trial trial;
        trial.done = raw.at("done").boolean();
        if (const json::Value &fault = raw.at("fault"); !fault.is_null()) {
            trial.fault = fault.array().at(0).string();
            if (!fault.array().at(1).is_null()) trial.exceeded = fault.array().at(1).string();
            trial.limit = fault.array().at(2).number();
        }
        return trial;
    } catch (const std::exception &) {  // damaged: as if it were not there
        return std::nullopt;
    }
}

void keep(const std::filesystem::path &path, const std::string &engine, const std::string &version,
          const Trial &trial) {
    json::Value fault;
    if (!trial.fault.empty())
        fault.data = json::Array{json::Value{trial.fault},
                                 trial.exceeded.empty() ? json::Value{} : json::Value{trial.exceeded},
                                 json::Value{json::Number{trial.limit, false}}};
    const json::Value document{json::Object{{"schema", json::Value{std::string(trial_schema)}},
                                            {"engine", json::Value{engine}},
                                            {"version", json::Value{version}},
                                            {"done", json::Value{trial.done}},
                                            {"fault", fault}}};
    std::error_code ignored;
    std::filesystem::create_directories(path.parent_path(), ignored);
    try {
        write_atomically(path, to_text(document, true) + "\n");
    } catch (const Failure &) {  // a cache that cannot be written is no error
    }
}

bool stands(const Trial &trial, const TrialLimits &today) {
    if (trial.exceeded.empty()) return true;
    return trial.limit >= alike * (trial.exceeded == "mib" ? today.mib : today.seconds);
}

}  // namespace

Trial try_in_child(const std::function<void()> &work, const TrialLimits &limits) {
    const pid_t parent = ::getpid();
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child < 0) {  // no process to be had: the work is done here, unguarded
        Trial trial;
        trial.done = true;
        trial.lasting = false;
        return trial;
    }
    if (child == 0) {
        restrain(parent);
        try {
            work();
        } catch (...) {
            ::_exit(1);  // the parent meets the same exception, where its user can read it
        }
        ::_exit(0);
    }
    const auto begin = std::chrono::steady_clock::now();
    for (int status = 0;;) {
        if (::waitpid(child, &status, WNOHANG) == child) return outcome_of(status);
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begin;
        if (taken.count() > limits.seconds)
            return ended(child, "hangs on this model (no result within " + whole(limits.seconds) + " s)", "seconds",
                         limits.seconds);
        if (used_mib(child) > limits.mib)
            return ended(child, "exhausts the memory on this model (more than " + whole(limits.mib) + " MiB)", "mib",
                         limits.mib);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
}

const Trial &trial_of(const std::string &engine, const std::string &version, const ModelArtifact &model,
                      const std::function<std::unique_ptr<Engine>()> &load) {
    static std::map<std::string, Trial> known;
    Sha256 hash;
    for (const std::string &fact :
         {std::string("edgeproof-run " EDGEPROOF_VERSION), engine, version, model.bundle.manifest_sha256,
          model.precision, machine()})
        hash.update(std::to_string(fact.size()) + ":" + fact);
    const std::string key = hash.hex().substr(0, 32);
    if (const auto found = known.find(key); found != known.end()) return found->second;
    const TrialLimits limits = limits_of(engine, model);
    const std::filesystem::path folder = cache_folder();
    const std::filesystem::path path = folder / "trials" / (key + ".json");
    std::optional<Trial> trial = folder.empty() ? std::nullopt : read(path);
    if (!trial || !stands(*trial, limits)) {
        trial = try_in_child(
            [&] {
                const std::unique_ptr<Engine> loaded = load();
                std::memset(loaded->input(), 0, model.input_bytes());
                loaded->run();
            },
            limits);
        if (trial->lasting && !folder.empty()) keep(path, engine, version, *trial);
    }
    return known.emplace(key, *trial).first->second;
}

}  // namespace edgeproof::app
