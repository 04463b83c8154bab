/* Tells event loops that passes have ended: one thread that watches the flags of the passes it was
 * given, looking at them all while the youngest is short, then asleep until the oldest has ended.
 * Begins with the first pass, ends with the backend. */
#ifndef ROUTER_ENCODER_CUDA_REAPER_CUH
#define ROUTER_ENCODER_CUDA_REAPER_CUH

#include <condition_variable>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <vector>
#include "router/encoder/cuda/slot.cuh"

class reaper
{
  public:
    ~reaper()
    {
        {
            std::lock_guard<std::mutex> lock(mutex);
            stopping = true;
        }
        changed.notify_all();
        if (thread.joinable())
            thread.join();
    }

    /* s is not touched by anybody else until the eventfd was written. */
    void watch(slot *s, int eventfd)
    {
        std::lock_guard<std::mutex> lock(mutex);
        if (!thread.joinable())
            thread = std::thread([this] { serve(); });
        watched.push_back({s, eventfd});
        changed.notify_all();
    }

  private:
    struct pass {
        slot *s;
        int eventfd;
    };

    static void tell(const pass &p)
    {
        uint64_t one = 1;
        /* It can fail only where the descriptor is no eventfd, or is full: it was told then. */
        ssize_t n = write(p.eventfd, &one, sizeof one);
        (void)n;
    }

    /* Takes out and tells of what has ended. */
    bool collect()
    {
        size_t before = watched.size();
        for (size_t i = 0; i < watched.size();) {
            if (slot_flagged(watched[i].s)) {
                pass p = watched[i];
                watched.erase(watched.begin() + (ptrdiff_t)i);
                tell(p);
            } else {
                i++;
            }
        }
        return watched.size() < before;
    }

    bool worth_spinning() const
    {
        for (const pass &p : watched)
            if (slot_age_us(p.s) <= SLOT_SPIN_US)
                return true;
        return false;
    }

    void serve()
    {
        std::unique_lock<std::mutex> lock(mutex);
        for (;;) {
            changed.wait(lock, [&] { return stopping || !watched.empty(); });
            if (watched.empty())
                return;
            if (collect())
                continue;
            if (worth_spinning()) {
                lock.unlock();
                pause_briefly();
                lock.lock();
                continue;
            }
            pass oldest = watched.front();
            watched.erase(watched.begin());
            lock.unlock();
            cudaEventSynchronize(oldest.s->end); /* an error is found again by the slot's wait */
            tell(oldest);
            lock.lock();
        }
    }

    std::mutex mutex;
    std::condition_variable changed;
    std::vector<pass> watched; /* the oldest first */
    std::thread thread;
    bool stopping = false;
};

#endif
