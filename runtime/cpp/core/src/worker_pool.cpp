#include "worker_pool.h"

namespace edgeproof::detail {

WorkerPool::WorkerPool(int workers) {
    for (int i = 1; i <= workers; ++i) threads_.emplace_back(&WorkerPool::work, this, i);
}

WorkerPool::~WorkerPool() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    start_.notify_all();
    for (auto &thread : threads_) thread.join();
}

void WorkerPool::run(int count, const std::function<void(int)> &job) {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        job_ = &job;
        count_ = count;
        ++generation_;
    }
    start_.notify_all();
    job(0);
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = nullptr;
    done_.wait(lock, [this] { return running_ == 0; });
}

void WorkerPool::work(int index) {
    unsigned seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
        start_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
        if (job_ == nullptr || index >= count_) continue;
        const auto &job = *job_;
        ++running_;
        lock.unlock();
        job(index);
        lock.lock();
        if (--running_ == 0) done_.notify_one();
    }
}

}  // namespace edgeproof::detail
