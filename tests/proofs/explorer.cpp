// The explorer finds what the language allows, and nothing else: known programs, and which outcomes
// each of them may have.
#include "explorer/explorer.hpp"

#include "explorer/atomic.hpp"

#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <vector>

namespace explorer = growstack::explorer;
using explorer::Atomic;
using explorer::explore;
using explorer::Explored;
using explorer::Model;

namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto acq_rel = std::memory_order_acq_rel;
constexpr auto seq_cst = std::memory_order_seq_cst;

/// Two locations, and what the threads of a litmus test have read.
struct Litmus {
  Atomic<int> x, y;
  std::array<int, 8> r{};
};
Litmus* litmus = nullptr;

using Body = std::function<void(Litmus&)>;

/// Runs the threads in all ways; returns the outcomes, as the digits of the first registers.
Explored run(const std::vector<Body>& bodies, std::size_t registers) {
  static Litmus memory;
  Model model;
  model.set_up = [] { litmus = new (&memory) Litmus{}; };
  for (const Body& body : bodies) {
    model.threads.emplace_back([body] { body(*litmus); });
  }
  model.check = [registers] {
    char outcome[9]{};
    for (std::size_t index = 0; index < registers; ++index) {
      outcome[index] = static_cast<char>('0' + litmus->r[index]);
    }
    explorer::note(outcome);
  };
  Explored explored = explore(model);
  INFO(explored.trace);
  CHECK(explored.fault.empty());
  return explored;
}

std::set<std::string> outcomes(const std::vector<Body>& bodies, std::size_t registers) {
  std::set<std::string> result;
  for (const auto& [outcome, count] : run(bodies, registers).outcomes) {
    result.insert(outcome);
  }
  return result;
}

using Set = std::set<std::string>;

void fence(std::memory_order order) { explorer::fence(order, explorer::Weight::ordinary); }

}  // namespace

TEST_CASE("store buffering: both threads may read the old value, unless all is seq_cst") {
  const auto with = [](std::memory_order write, std::memory_order read) {
    return outcomes({[=](Litmus& m) { m.x.store(1, write), m.r[0] = m.y.load(read); },
                     [=](Litmus& m) { m.y.store(1, write), m.r[1] = m.x.load(read); }},
                    2);
  };
  CHECK(with(relaxed, relaxed) == Set{"00", "01", "10", "11"});
  CHECK(with(release, acquire) == Set{"00", "01", "10", "11"});
  CHECK(with(seq_cst, acquire) == Set{"00", "01", "10", "11"});
  CHECK(with(seq_cst, seq_cst) == Set{"01", "10", "11"});
}

TEST_CASE("store buffering: fences in both threads exclude the old value, one does not") {
  const auto with = [](std::memory_order first, std::memory_order second) {
    return outcomes(
        {[=](Litmus& m) { m.x.store(1, relaxed), fence(first), m.r[0] = m.y.load(relaxed); },
         [=](Litmus& m) { m.y.store(1, relaxed), fence(second), m.r[1] = m.x.load(relaxed); }},
        2);
  };
  CHECK(with(seq_cst, seq_cst) == Set{"01", "10", "11"});
  CHECK(with(seq_cst, acq_rel) == Set{"00", "01", "10", "11"});
}

TEST_CASE(
    "store buffering: a barrier everywhere makes a fence of the other thread's compiler one") {
  const auto with = [](explorer::Weight first, explorer::Weight second) {
    return outcomes({[=](Litmus& m) {
                       m.x.store(1, relaxed);
                       explorer::fence(seq_cst, first);
                       m.r[0] = m.y.load(relaxed);
                     },
                     [=](Litmus& m) {
                       m.y.store(1, relaxed);
                       explorer::fence(seq_cst, second);
                       m.r[1] = m.x.load(relaxed);
                     }},
                    2);
  };
  using explorer::Weight;
  CHECK(with(Weight::light, Weight::heavy) == Set{"01", "10", "11"});
  CHECK(with(Weight::heavy, Weight::heavy) == Set{"01", "10", "11"});
  CHECK(with(Weight::light, Weight::light) == Set{"00", "01", "10", "11"});
  CHECK(with(Weight::light, Weight::ordinary) == Set{"00", "01", "10", "11"});
}

TEST_CASE("message passing: what was written before a release is seen after an acquire") {
  const auto with = [](std::memory_order write, std::memory_order read) {
    return outcomes({[=](Litmus& m) { m.x.store(1, relaxed), m.y.store(1, write); },
                     [=](Litmus& m) { m.r[0] = m.y.load(read), m.r[1] = m.x.load(relaxed); }},
                    2);
  };
  CHECK(with(release, acquire) == Set{"00", "01", "11"});
  CHECK(with(relaxed, acquire) == Set{"00", "01", "10", "11"});
  CHECK(with(release, relaxed) == Set{"00", "01", "10", "11"});
}

TEST_CASE("message passing: by fences, and through a release sequence") {
  CHECK(outcomes({[](Litmus& m) { m.x.store(1, relaxed), fence(release), m.y.store(1, relaxed); },
                  [](Litmus& m) {
                    m.r[0] = m.y.load(relaxed), fence(acquire), m.r[1] = m.x.load(relaxed);
                  }},
                 2) == Set{"00", "01", "11"});
  const auto through = [](std::memory_order order) {
    return outcomes({[=](Litmus& m) { m.x.store(1, relaxed), m.y.store(1, release); },
                     [=](Litmus& m) {
                       int one = 1;
                       m.y.compare_exchange_strong(one, 2, order, relaxed);
                     },
                     [=](Litmus& m) {
                       m.r[0] = m.y.load(acquire) == 2;
                       m.r[1] = m.x.load(relaxed);
                     }},
                    2);
  };
  CHECK(through(relaxed) == Set{"00", "01", "11"});
  // A plain store by another thread ends the sequence.
  CHECK(outcomes({[](Litmus& m) { m.x.store(1, relaxed), m.y.store(1, release); },
                  [](Litmus& m) {
                    if (m.y.load(relaxed) == 1) {
                      m.y.store(2, relaxed);
                    }
                  },
                  [](Litmus& m) {
                    m.r[0] = m.y.load(acquire) == 2;
                    m.r[1] = m.x.load(relaxed);
                  }},
                 2) == Set{"00", "01", "10", "11"});
}

TEST_CASE("load buffering: no thread reads what depends on its own later write") {
  CHECK(outcomes({[](Litmus& m) { m.r[0] = m.x.load(relaxed), m.y.store(1, relaxed); },
                  [](Litmus& m) { m.r[1] = m.y.load(relaxed), m.x.store(1, relaxed); }},
                 2) == Set{"00", "01", "10"});
}

TEST_CASE("coherence: two reads of one location do not go back, and all agree on its writes") {
  const Set found =
      outcomes({[](Litmus& m) { m.x.store(1, relaxed); }, [](Litmus& m) { m.x.store(2, relaxed); },
                [](Litmus& m) { m.r[0] = m.x.load(relaxed), m.r[1] = m.x.load(relaxed); },
                [](Litmus& m) { m.r[2] = m.x.load(relaxed), m.r[3] = m.x.load(relaxed); }},
               4);
  CHECK(found.count("1221") == 0);
  CHECK(found.count("2112") == 0);
  CHECK(found.count("1000") == 0);
  CHECK(found.count("1212") == 1);
  CHECK(found.count("2121") == 1);
  CHECK(found.count("0102") == 1);
}

TEST_CASE("two stores to each of two locations may be ordered against both threads") {
  const auto with = [](std::memory_order order) {
    static int last_x;
    static int last_y;
    static Atomic<int> x;
    static Atomic<int> y;
    Model model;
    model.threads = {[=] { x.store(1, order), y.store(2, order); },
                     [=] { y.store(1, order), x.store(2, order); }};
    model.check = [] {
      last_x = x.load(), last_y = y.load();
      explorer::note(last_x == 1 && last_y == 1 ? "both first" : "not");
    };
    return explore(model).outcomes.count("both first") == 1;
  };
  CHECK(with(relaxed));
  CHECK(with(release));
  CHECK_FALSE(with(seq_cst));
}

TEST_CASE("independent reads of independent writes: threads disagree, unless all is seq_cst") {
  const auto with = [](std::memory_order write, std::memory_order read) {
    return outcomes(
               {[=](Litmus& m) { m.x.store(1, write); }, [=](Litmus& m) { m.y.store(1, write); },
                [=](Litmus& m) { m.r[0] = m.x.load(read), m.r[1] = m.y.load(read); },
                [=](Litmus& m) { m.r[2] = m.y.load(read), m.r[3] = m.x.load(read); }},
               4)
               .count("1010") == 1;
  };
  CHECK(with(relaxed, relaxed));
  CHECK(with(release, acquire));
  CHECK_FALSE(with(seq_cst, seq_cst));
}

TEST_CASE("the number of executions of tiny programs is known") {
  const auto store = [](Litmus& m) { m.x.store(1, relaxed); };
  const auto add = [](Litmus& m) { m.x.fetch_add(1, relaxed); };
  // n! orders of n stores, and of n read-modify-writes.
  CHECK(run({store, store}, 0).executions == 2);
  CHECK(run({store, store, store}, 0).executions == 6);
  CHECK(run({add, add, add}, 0).executions == 6);
  CHECK(run({add, add, add, add}, 0).executions == 24);
  // A read has a value for each write, and one more.
  const auto load = [](Litmus& m) { m.r[0] = m.x.load(relaxed); };
  CHECK(run({store, load}, 0).executions == 2);
  CHECK(run({load, load, store}, 0).executions == 4);
  CHECK(run({store, store, load}, 0).executions == 6);
  // Accesses of different locations do not multiply.
  const auto other = [](Litmus& m) { m.y.store(1, relaxed); };
  CHECK(run({store, other}, 0).executions == 1);
  // Choices do.
  CHECK(run({[](Litmus&) { explorer::choose(3), explorer::choose(2); }}, 0).executions == 6);
}

TEST_CASE("no execution is seen twice") {
  // What each thread reads, and the order of writes, names an execution of this program.
  const Explored explored = run(
      {[](Litmus& m) { m.r[0] = m.x.fetch_add(1, acq_rel), m.r[1] = m.y.load(relaxed); },
       [](Litmus& m) { m.r[2] = m.x.fetch_add(1, acq_rel), m.r[3] = m.y.fetch_add(1, acq_rel); },
       [](Litmus& m) { m.r[4] = m.y.fetch_add(1, acq_rel), m.r[5] = m.x.load(relaxed); }},
      6);
  for (const auto& each : explored.outcomes) {
    CAPTURE(each.first);
    CHECK(each.second == 1);
  }
  CHECK(explored.executions == explored.outcomes.size());
}

namespace {

/// Two threads, each of which says that it wants in, and looks whether the other one does.
Explored dekker(std::memory_order order, bool fences) {
  static std::array<Atomic<int>, 2> wants;
  static explorer::Plain<int> inside;
  Model model;
  model.set_up = [] { new (&inside) explorer::Plain<int>; };
  for (std::size_t self = 0; self < 2; ++self) {
    model.threads.emplace_back([=] {
      wants[self].store(1, order);
      if (fences) {
        fence(seq_cst);
      }
      if (wants[1 - self].load(order == release ? acquire : order) == 0) {
        inside = static_cast<int>(self);
      }
    });
  }
  return explore(model);
}

Explored peterson(std::memory_order store, std::memory_order load, bool turns) {
  static std::array<Atomic<int>, 2> wants;
  static Atomic<std::size_t> turn;
  static explorer::Plain<int> inside;
  Model model;
  model.set_up = [] { new (&inside) explorer::Plain<int>; };
  for (std::size_t self = 0; self < 2; ++self) {
    model.threads.emplace_back([=] {
      wants[self].store(1, store);
      if (turns) {
        turn.store(1 - self, store);
      }
      while (wants[1 - self].load(load) == 1 && (!turns || turn.load(load) == 1 - self)) {
        explorer::yield();
      }
      inside = static_cast<int>(self);
      wants[self].store(0, release);
    });
  }
  return explore(model);
}

}  // namespace

TEST_CASE("Dekker's threads exclude each other by seq_cst or by fences only") {
  CHECK(dekker(seq_cst, false).fault.empty());
  CHECK(dekker(relaxed, true).fault.empty());
  CHECK(dekker(release, false).fault.find("data race") != std::string::npos);
  CHECK(dekker(relaxed, false).fault.find("data race") != std::string::npos);
}

TEST_CASE("Peterson's lock needs seq_cst, and waits for ever without turns") {
  CHECK(peterson(seq_cst, seq_cst, true).fault.empty());
  CHECK(peterson(release, acquire, true).fault.find("data race") != std::string::npos);
  CHECK(peterson(seq_cst, seq_cst, false).fault.find("waits for ever") != std::string::npos);
}

TEST_CASE("a wake-up is lost if the waiter does not say which value it saw") {
  static Atomic<std::uint32_t> word;
  const auto with = [](bool expects_what_it_saw, bool wakes) {
    Model model;
    model.threads = {[=] {
                       while (word.load(acquire) == 0) {
                         const auto expected = expects_what_it_saw ? 0 : word.load(relaxed);
                         explorer::wait_on(&word, expected, explorer::Timeout::never);
                       }
                     },
                     [=] {
                       word.store(1, release);
                       if (wakes) {
                         explorer::wake(&word);
                       }
                     }};
    return explore(model).fault;
  };
  CHECK(with(true, true).empty());
  CHECK(with(false, true).find("waits for ever") != std::string::npos);
  CHECK(with(true, false).find("waits for ever") != std::string::npos);
}

TEST_CASE("a wait with a timeout ends both ways, and is no fault if nobody wakes it") {
  static Atomic<std::uint32_t> word;
  Model model;
  static explorer::Woken how;
  model.threads = {[] { how = explorer::wait_on(&word, 0, explorer::Timeout::may_fire); },
                   [] {
                     word.store(1, release);
                     explorer::wake(&word);
                   }};
  model.check = [] {
    explorer::note(how == explorer::Woken::by_wake      ? "woken"
                   : how == explorer::Woken::by_timeout ? "timeout"
                                                        : "different");
  };
  Explored explored = explore(model);
  CHECK(explored.fault.empty());
  CHECK(explored.outcomes.size() == 3);
  model.threads.pop_back();
  explored = explore(model);
  CHECK(explored.fault.empty());
  CHECK(explored.outcomes.size() == 1);
  CHECK(explored.blocked == 1);
}

namespace {

/// Counts the threads that have ended.
struct CountsEnd {
  Atomic<int>* ended = nullptr;
  ~CountsEnd() {
    if (ended != nullptr) {
      ended->fetch_add(1, relaxed);
    }
  }
};
thread_local int here = 5;
thread_local CountsEnd counts_end;

}  // namespace

TEST_CASE("each thread has its own thread_local objects, and ends them") {
  static Atomic<int> ended;
  Model model;
  const auto body = [] {
    explorer::require(here == 5, "another thread's");
    counts_end.ended = &ended;
    here = static_cast<int>(explorer::this_thread());
    ended.load(relaxed);  // the other thread runs meanwhile
    explorer::require(here == static_cast<int>(explorer::this_thread()), "another thread's");
  };
  model.threads = {body, body};
  model.check = [] { explorer::require(ended == 2, "a thread has not ended its objects"); };
  const Explored explored = explore(model);
  CHECK(explored.fault == "");
  CHECK(explored.executions > 1);
  CHECK(here == 5);
}

TEST_CASE("a mutex excludes, orders, and two of them in two orders wait for ever") {
  static explorer::Mutex first;
  static explorer::Mutex second;
  static explorer::Plain<int> data;
  Model model;
  model.set_up = [] { new (&data) explorer::Plain<int>; };
  const auto adds = [] {
    first.lock();
    data = data + 1;
    first.unlock();
  };
  model.threads = {adds, adds, adds};
  model.check = [] { explorer::require(data == 3, "an addition is lost"); };
  const Explored explored = explore(model);
  CHECK(explored.fault.empty());
  CHECK(explored.executions == 6);

  const auto locks = [](explorer::Mutex& one, explorer::Mutex& other) {
    one.lock(), other.lock(), other.unlock(), one.unlock();
  };
  model.threads = {[=] { locks(first, second); }, [=] { locks(second, first); }};
  model.check = nullptr;
  CHECK(explore(model).fault.find("waits for ever: thread 0 thread 1") != std::string::npos);
}

TEST_CASE("data that nothing orders is found, in whichever order it was accessed") {
  static Atomic<int> flag;
  static explorer::Plain<int> data;
  const auto with = [](std::memory_order order, bool reader_first) {
    Model model;
    model.set_up = [] { new (&data) explorer::Plain<int>; };
    model.threads = {[=] { data = 1, flag.store(1, order); },
                     [=] {
                       if (flag.load(acquire) == 1) {
                         explorer::require(data == 1, "the old value");
                       }
                     }};
    if (reader_first) {
      std::swap(model.threads[0], model.threads[1]);
    }
    return explore(model).fault;
  };
  for (const bool reader_first : {false, true}) {
    CHECK(with(release, reader_first).empty());
    CHECK(with(relaxed, reader_first).find("data race") != std::string::npos);
  }
}

TEST_CASE("an access after a delete is found, and one that nothing orders before it") {
  struct Shared {
    Atomic<int> count{2};
  };
  static Atomic<Shared*> shared;
  const auto with = [](std::memory_order order, int users) {
    Model model;
    model.set_up = [=] { new (&shared) Atomic<Shared*>(new Shared); };
    const auto lets_go = [=] {
      Shared* const mine = shared.load(acquire);
      mine->count.load(relaxed);
      if (mine->count.fetch_sub(1, order) == 3 - users) {
        delete mine;
      }
    };
    model.threads = {lets_go, lets_go};
    return explore(model).fault;
  };
  CHECK(with(acq_rel, 2).empty());
  CHECK(with(relaxed, 2).find("released") != std::string::npos);
  CHECK(with(acq_rel, 1).find("released") != std::string::npos);
}

TEST_CASE("a thread dies before any of its writes, and others see how far it had come") {
  static Atomic<int> steps;
  static std::array<int, 1> seen;
  Model model;
  model.threads = {[] {
                     explorer::may_die();
                     steps.store(1, relaxed);
                     steps.store(2, relaxed);
                   },
                   [] {
                     const bool died = explorer::has_died(0);
                     seen[0] = steps.load(relaxed) + (died ? 10 : 0);
                   }};
  model.check = [] {
    const char outcome[] = {static_cast<char>('0' + seen[0] / 10),
                            static_cast<char>('0' + seen[0] % 10), static_cast<char>('0' + steps),
                            '\0'};
    explorer::note(outcome);
  };
  const Explored explored = explore(model);
  CHECK(explored.fault.empty());
  Set found;
  for (const auto& [outcome, count] : explored.outcomes) {
    found.insert(outcome);
  }
  // Dead or not, what is seen, what there is in the end. Who sees the death sees the last step.
  CHECK(found == Set{"000", "001", "011", "002", "012", "022", "100", "111"});
}

TEST_CASE("an execution without an end, and a property that does not hold, are faults") {
  static Atomic<int> x;
  Model model;
  model.threads = {[] {
    for (;;) {
      x.fetch_add(1);
    }
  }};
  CHECK(explore(model).fault == "an execution has no end");
  model.threads = {[] { x.store(1); }, [] { explorer::require(x.load() == 0, "x is 0"); }};
  const Explored explored = explore(model);
  CHECK(explored.fault == "x is 0");
  CHECK(explored.trace.find("writes") != std::string::npos);
}

TEST_CASE("executions that were not seen are never passed over in silence") {
  static Atomic<int> x;
  Model model;
  model.threads = {[] { x.store(1); }, [] { x.store(1); }, [] { x.store(1); }};
  CHECK_THROWS(static_cast<void>(explore(model, 5)));
  CHECK(explore(model, 6).executions == 6);
}
