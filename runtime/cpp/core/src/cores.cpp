#include "edgeproof/cores.h"

#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

namespace edgeproof {
namespace {

constexpr double unlimited = std::numeric_limits<double>::infinity();

int affinity() {
#ifdef __linux__
    for (int cpus = CPU_SETSIZE; cpus <= 1 << 16; cpus *= 2) {  // the kernel refuses a set smaller than its own
        cpu_set_t *set = CPU_ALLOC(cpus);
        const std::size_t size = CPU_ALLOC_SIZE(cpus);
        CPU_ZERO_S(size, set);
        const int count = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
        CPU_FREE(set);
        if (count > 0) return count;
    }
#endif
    return static_cast<int>(std::thread::hardware_concurrency());
}

/// Cores' worth of time: quota over period, where both are numbers above 0.
double share_of(std::istream &quota, std::istream &period) {
    double microseconds = 0.0;
    double of = 0.0;
    const bool limited = quota >> microseconds && period >> of && microseconds > 0 && of > 0;
    return limited ? microseconds / of : unlimited;
}

double share_of_group(const std::string &folder) {
    std::ifstream both(folder + "/cpu.max");
    std::ifstream quota(folder + "/cpu.cfs_quota_us");
    std::ifstream period(folder + "/cpu.cfs_period_us");
    return std::min(share_of(both, both), share_of(quota, period));
}

/// The least share of a group ("/a/b"), of each group above it and of the mount itself.
double share_of_path(const std::string &mount, std::string group) {
    double share = share_of_group(mount);
    while (group.size() > 1) {
        if (group.find("/..") == std::string::npos) share = std::min(share, share_of_group(mount + group));
        group.resize(group.rfind('/'));
    }
    return share;
}

bool lists_cpu(const std::string &controllers) {
    std::istringstream names(controllers);
    for (std::string name; std::getline(names, name, ',');)
        if (name == "cpu") return true;
    return false;
}

}  // namespace

int within_cpu_quota(int cores, const std::string &root) {
    const std::string mount = root + "/sys/fs/cgroup";
    double share = unlimited;
    std::ifstream groups(root + "/proc/self/cgroup");
    // Each line is "id:controllers:/group" (cgroups(7)); the unified hierarchy has no controllers.
    for (std::string line; std::getline(groups, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string group = line.substr(second + 1);
        if (group.empty() || group.front() != '/') continue;
        if (controllers.empty()) {
            share = std::min(share, share_of_path(mount, group));
        } else if (lists_cpu(controllers)) {
            for (const std::string &name : {controllers, std::string("cpu")})
                share = std::min(share, share_of_path(mount + "/" + name, group));
        }
    }
    share = std::min(share, share_of_group(mount));
    return std::max(1, share < cores ? static_cast<int>(std::ceil(share)) : cores);
}

int usable_cores() { return within_cpu_quota(affinity()); }

}  // namespace edgeproof
