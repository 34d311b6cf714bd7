#include "system/host.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string_view>

#include "edgeproof/cores.h"
#include "edgeproof/spec.h"
#include "json_text.h"

namespace edgeproof::app {
namespace {

using json::Array;
using json::Object;
using json::Value;

std::string read_line(const std::filesystem::path &path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line, '\n');
    line.erase(std::find(line.begin(), line.end(), '\0'), line.end());  // the device tree ends its strings like C
    return line;
}

/// The value of the first "key : value" line of a file; empty where there is none.
std::string field(const std::filesystem::path &path, const std::string &key) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        const std::size_t colon = line.find(':');
        if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
        if (line.find_first_not_of(" \t", key.size()) != colon) continue;
        const std::size_t from = line.find_first_not_of(" \t", colon + 1);
        return from == std::string::npos ? std::string() : line.substr(from);
    }
    return {};
}

Value text_or_null(const std::string &text) {
    if (text.empty()) return {};
    return {text};
}

Value positive_or_null(double value) { return value > 0 ? number(value) : Value{}; }

bool has_word(const std::string &words, const std::string &word) {
    return (" " + words + " ").find(" " + word + " ") != std::string::npos;
}

std::string cpu_flags() {
    const std::string flags = field("/proc/cpuinfo", "flags");
    return flags.empty() ? field("/proc/cpuinfo", "Features") : flags;
}

Value cpu_facts() {
    const std::string flags = cpu_flags();
    Array features;
    std::set<std::string_view> named;  // two flags may have one name
    for (const auto &[flag, name] : spec::cpu_features)
        if (has_word(flags, std::string(flag)) && named.insert(name).second) features.push_back({std::string(name)});
    std::set<std::string> found;
    std::set<std::string> cores;  // each named by the logical ones that share it
    const int logical = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    const std::filesystem::path cpus = "/sys/devices/system/cpu";
    for (int i = 0; i < logical; ++i) {
        const std::filesystem::path one = cpus / ("cpu" + std::to_string(i));
        found.insert(read_line(one / "cpufreq/scaling_governor"));
        cores.insert(read_line(one / "topology/thread_siblings_list"));
    }
    found.erase("");
    cores.erase("");
    Array governors;
    for (const std::string &governor : found) governors.push_back({governor});
    std::string model = field("/proc/cpuinfo", "model name");
    if (model.empty()) model = read_line("/proc/device-tree/model");
    const std::string no_turbo = read_line(cpus / "intel_pstate/no_turbo");
    const std::string boost = read_line(cpus / "cpufreq/boost");
    Value boosting;
    if (!no_turbo.empty()) {
        boosting = {no_turbo == "0"};
    } else if (!boost.empty()) {
        boosting = {boost == "1"};
    }
    return {Object{
        {"model", text_or_null(model)},
        {"cores_physical", cores.empty() ? Value{} : integer(static_cast<double>(cores.size()))},
        {"cores_logical", integer(logical)},
        {"cores_usable", integer(usable_cores())},
        {"features", {features}},
        {"governors", {governors}},
        {"clock_mhz", positive_or_null(std::atof(field("/proc/cpuinfo", "cpu MHz").c_str()))},
        {"clock_max_mhz", positive_or_null(std::atof(read_line(cpus / "cpu0/cpufreq/cpuinfo_max_freq").c_str()) / 1e3)},
        {"boost", boosting}}};
}

/// NVIDIA GPUs as the kernel module shows them, without starting a process.
Array gpu_facts() {
    Array gpus;
    std::error_code error;
    for (const auto &entry : std::filesystem::directory_iterator("/proc/driver/nvidia/gpus", error))
        gpus.push_back({Object{{"name", text_or_null(field(entry.path() / "information", "Model"))},
                               {"driver", text_or_null(read_line("/sys/module/nvidia/version"))}}});
    return gpus;
}

Value memory_facts() {
    const auto bytes = [](const char *key) {
        return integer(1024.0 * static_cast<double>(std::atoll(field("/proc/meminfo", key).c_str())));
    };
    const double limit = std::atof(read_line("/sys/fs/cgroup/memory.max").c_str());
    return {Object{{"total_bytes", bytes("MemTotal")},
                   {"available_bytes", bytes("MemAvailable")},
                   {"limit_bytes", limit > 0 ? integer(limit) : Value{}}}};
}

std::string os_name() {
    std::ifstream file("/etc/os-release");
    for (std::string line; std::getline(file, line);)
        if (line.compare(0, 13, "PRETTY_NAME=\"") == 0) return line.substr(13, line.size() - 14);
    return {};
}

/// Whether a file of several strings, each of which ends like in C, holds a text.
bool file_has(const std::filesystem::path &path, const std::string &text) {
    std::ifstream file(path);
    const std::string content{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    return content.find(text) != std::string::npos;
}

}  // namespace

std::string jetson_board(const std::filesystem::path &root) {
    std::error_code error;
    const bool released = std::filesystem::exists(root / "etc/nv_tegra_release", error);
    if (!released && !file_has(root / "proc/device-tree/compatible", "nvidia,tegra")) return {};
    return read_line(root / "proc/device-tree/model");
}

Value host_facts(const Object &package_versions) {
    utsname kernel{};
    uname(&kernel);
    double load = 0.0;
    const bool has_load = getloadavg(&load, 1) == 1;
    const std::string l4t = read_line("/etc/nv_tegra_release");
    Value jetson;
    if (!l4t.empty()) {
        jetson = {Object{{"board", text_or_null(read_line("/proc/device-tree/model"))},
                         {"l4t", {l4t.substr(l4t.find_first_not_of("# "))}}}};
    }
    std::error_code error;
    const bool container =
        std::filesystem::exists("/.dockerenv", error) || std::filesystem::exists("/run/.containerenv", error);
    return {Object{{"cpu", cpu_facts()},
                   {"gpu", {gpu_facts()}},
                   {"jetson", jetson},
                   {"memory", memory_facts()},
                   {"load_average_1min", has_load ? number(load) : Value{}},
                   {"os",
                    {Object{{"name", text_or_null(os_name())},
                            {"kernel", {std::string(kernel.release)}},
                            {"arch", {std::string(kernel.machine)}},
                            {"virtualized", {has_word(cpu_flags(), "hypervisor")}},
                            {"container", {container}}}}},
                   {"packages", {package_versions}}}};
}

std::vector<std::string> host_warnings(const Value &facts) {
    std::vector<std::string> found;
    const Value &cpu = facts.at("cpu");
    const Value &load = facts.at("load_average_1min");
    const int cores = cpu.at("cores_usable").integer();
    if (!load.is_null() && load.number() > cores) {
        char text[128];
        std::snprintf(text, sizeof text,
                      "The host was busy before the measurement: load average %.1f on %d usable cores. ", load.number(),
                      cores);
        found.push_back(text + std::string("Latencies are upper bounds."));
    }
    std::string slow;
    for (const Value &governor : cpu.at("governors").array())
        if (governor.string() != "performance" && governor.string() != "schedutil")
            slow += (slow.empty() ? "" : ", ") + governor.string();
    if (!slow.empty())
        found.push_back("CPU frequency governor " + slow + ": the CPU may not have run at its highest clock.");
    if (facts.at("os").at("virtualized").boolean()) {
        found.push_back(
            "The host is a virtual machine: others may take its CPU time, so latencies vary more than on hardware.");
    }
    if (facts.at("gpu").array().empty() && facts.at("jetson").is_null())
        found.push_back("No NVIDIA GPU found: nothing in this report ran on one.");
    return found;
}

}  // namespace edgeproof::app
