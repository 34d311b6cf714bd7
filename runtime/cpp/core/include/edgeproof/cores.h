#pragma once

#include <string>

namespace edgeproof {

/// Cores that this process may use: its affinity, cut by the CPU quotas of its control groups. At least 1.
int usable_cores();

/// Cut a number of cores by the CPU quotas of this process's control group and all groups above it, rounded up; at
/// least 1. Reads "cpu.max" (version 2) and "cpu.cfs_quota_us" (version 1) below `root`/sys/fs/cgroup for the groups
/// that `root`/proc/self/cgroup names, and those of the mount itself, which in a container is the container's group.
int within_cpu_quota(int cores, const std::string &root = "");

}  // namespace edgeproof
