#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace edgeproof::detail {

/// Threads that wait for work: starting one costs more than a frame of work. Not usable after fork().
class WorkerPool {
  public:
    explicit WorkerPool(int workers);
    ~WorkerPool();
    WorkerPool(const WorkerPool &) = delete;
    WorkerPool &operator=(const WorkerPool &) = delete;

    /// Runs job(0) on the caller's thread and job(1) .. job(count - 1) on those of count - 1 workers that wake before
    /// it returns; count <= workers + 1. Returns when all that began are done, so that a worker without a core costs
    /// nothing: the calls share out the work between them. The job must not throw.
    void run(int count, const std::function<void(int)> &job);

  private:
    void work(int index);

    std::mutex mutex_;
    std::condition_variable start_;
    std::condition_variable done_;
    const std::function<void(int)> *job_ = nullptr;
    int count_ = 0;
    int running_ = 0;  // workers inside the job
    unsigned generation_ = 0;
    bool stop_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace edgeproof::detail
