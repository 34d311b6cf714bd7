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
        running_ = static_cast<int>(threads_.size());
        ++generation_;
    }
    start_.notify_all();
    job(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
}

void WorkerPool::work(int index) {
    unsigned seen = 0;
    for (;;) {
        std::unique_lock<std::mutex> lock(mutex_);
        start_.wait(lock, [&] { return stop_ || generation_ != seen; });
        if (stop_) return;
        seen = generation_;
        const auto *job = index < count_ ? job_ : nullptr;
        lock.unlock();
        if (job != nullptr) (*job)(index);
        lock.lock();
        if (--running_ == 0) done_.notify_one();
    }
}

}  // namespace edgeproof::detail
