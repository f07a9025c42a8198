// What the instrumented code calls: the entry points of the sanitizer's runtime, and what the
// linker puts in the place of functions of the C library (--wrap).
#include "interleavings/interleavings.hpp"
#include "interleavings/run.hpp"

#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace growstack::interleavings {
namespace {

Address address_of(const volatile void* object) noexcept {
  return reinterpret_cast<Address>(object);
}

/// One step at an atomic object; `use` is what happens there.
template <class T, class Use>
T at_object(Kind kind, const volatile T* object, const void* code, Use use) {
  if (!in_model()) {
    return use();
  }
  const Aside aside;
  step({.kind = kind, .object = address_of(object), .code = address_of(code)});
  races::check_exists(address_of(object));
  return use();
}

std::memory_order order_of(int order) noexcept { return static_cast<std::memory_order>(order); }

template <class T>
T load(const volatile T* object, int order, const void* code) {
  const bool counts = in_model();
  return at_object(Kind::read, object, code, [&] {
    if (counts) {
      races::acquire(address_of(object), order_of(order));
    }
    return *object;
  });
}

template <class T>
void store(volatile T* object, T value, int order, const void* code) {
  const bool counts = in_model();
  at_object(Kind::write, object, code, [&] {
    if (counts) {
      races::release(address_of(object), order_of(order), false);
    }
    *object = value;
    return value;
  });
}

template <class T, class Change>
T change(volatile T* object, int order, const void* code, Change next) {
  const bool counts = in_model();
  return at_object(Kind::write, object, code, [&] {
    if (counts) {
      races::acquire(address_of(object), order_of(order));
      races::release(address_of(object), order_of(order), true);
    }
    const T before = *object;
    *object = next(before);
    return before;
  });
}

template <class T>
int compare_exchange(volatile T* object, T* expected, T desired, int order, int failure,
                     const void* code) {
  const bool counts = in_model();
  int result = 0;
  at_object(Kind::write, object, code, [&] {
    const T before = *object;
    result = before == *expected ? 1 : 0;
    if (counts) {
      races::acquire(address_of(object), order_of(result != 0 ? order : failure));
      if (result != 0) {
        races::release(address_of(object), order_of(order), true);
      }
    }
    if (result != 0) {
      *object = desired;
    } else {
      *expected = before;
    }
    return before;
  });
  return result;
}

void check_read(const void* object, std::size_t bytes) {
  if (in_model()) {
    const Aside aside;
    races::read(address_of(object), bytes);
  }
}

void check_write(const void* object, std::size_t bytes) {
  if (in_model()) {
    const Aside aside;
    races::write(address_of(object), bytes);
  }
}

// ---- threads of the program ---------------------------------------------------------------------

using Destructor = void (*)(void*);
using Handler = void (*)();

constinit std::array<Destructor, most_keys> destructors{};
constinit std::size_t keys = 0;
constinit std::array<std::array<Handler, 3>, most_keys> fork_handlers{};
constinit std::size_t fork_handler_count = 0;

/// The blocks that were freed in this execution. Each has the address of the next one.
constinit void* quarantine = nullptr;

}  // namespace

void run_destructors() noexcept {
  for (std::size_t key = 0; key < keys; ++key) {
    const void* const value = std::exchange(specific()[key], nullptr);
    if (value != nullptr && destructors[key] != nullptr) {
      destructors[key](const_cast<void*>(value));
    }
  }
}

void before_fork() noexcept {
  for (std::size_t index = fork_handler_count; index-- > 0;) {
    if (fork_handlers[index][0] != nullptr) {
      fork_handlers[index][0]();
    }
  }
}

void after_fork(bool is_child) noexcept {
  for (std::size_t index = 0; index < fork_handler_count; ++index) {
    if (const Handler handler = fork_handlers[index][is_child ? 2 : 1]; handler != nullptr) {
      handler();
    }
  }
}

}  // namespace growstack::interleavings

using namespace growstack::interleavings;

extern "C" {

void __real_free(void* block);

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define GROWSTACK_ACCESS(bytes)                                                  \
  void __tsan_read##bytes(void* object) { check_read(object, bytes); }           \
  void __tsan_write##bytes(void* object) { check_write(object, bytes); }         \
  void __tsan_unaligned_read##bytes(void* object) { check_read(object, bytes); } \
  void __tsan_unaligned_write##bytes(void* object) { check_write(object, bytes); }
GROWSTACK_ACCESS(1)
GROWSTACK_ACCESS(2)
GROWSTACK_ACCESS(4)
GROWSTACK_ACCESS(8)
GROWSTACK_ACCESS(16)
#undef GROWSTACK_ACCESS
void __tsan_read_range(void* begin, std::size_t bytes) { check_read(begin, bytes); }
void __tsan_write_range(void* begin, std::size_t bytes) { check_write(begin, bytes); }
void __tsan_vptr_update(void** object, void*) { check_write(object, sizeof(void*)); }
void __tsan_vptr_read(void** object) { check_read(object, sizeof(void*)); }

#define GROWSTACK_CODE __builtin_return_address(0)
#define GROWSTACK_ATOMIC(bits)                                                                 \
  using Word##bits = std::uint##bits##_t;                                                      \
  Word##bits __tsan_atomic##bits##_load(const volatile Word##bits* object, int order) {        \
    return load(object, order, GROWSTACK_CODE);                                                \
  }                                                                                            \
  void __tsan_atomic##bits##_store(volatile Word##bits* object, Word##bits value, int order) { \
    store(object, value, order, GROWSTACK_CODE);                                               \
  }                                                                                            \
  Word##bits __tsan_atomic##bits##_exchange(volatile Word##bits* object, Word##bits value,     \
                                            int order) {                                       \
    return change(object, order, GROWSTACK_CODE, [=](Word##bits) { return value; });           \
  }                                                                                            \
  Word##bits __tsan_atomic##bits##_fetch_add(volatile Word##bits* object, Word##bits value,    \
                                             int order) {                                      \
    return change(object, order, GROWSTACK_CODE,                                               \
                  [=](Word##bits before) { return static_cast<Word##bits>(before + value); }); \
  }                                                                                            \
  Word##bits __tsan_atomic##bits##_fetch_sub(volatile Word##bits* object, Word##bits value,    \
                                             int order) {                                      \
    return change(object, order, GROWSTACK_CODE,                                               \
                  [=](Word##bits before) { return static_cast<Word##bits>(before - value); }); \
  }                                                                                            \
  Word##bits __tsan_atomic##bits##_fetch_or(volatile Word##bits* object, Word##bits value,     \
                                            int order) {                                       \
    return change(object, order, GROWSTACK_CODE,                                               \
                  [=](Word##bits before) { return static_cast<Word##bits>(before | value); }); \
  }                                                                                            \
  Word##bits __tsan_atomic##bits##_fetch_and(volatile Word##bits* object, Word##bits value,    \
                                             int order) {                                      \
    return change(object, order, GROWSTACK_CODE,                                               \
                  [=](Word##bits before) { return static_cast<Word##bits>(before & value); }); \
  }                                                                                            \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile Word##bits* object,               \
                                                    Word##bits* expected, Word##bits desired,  \
                                                    int order, int failure) {                  \
    return compare_exchange(object, expected, desired, order, failure, GROWSTACK_CODE);        \
  }                                                                                            \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile Word##bits* object,                 \
                                                  Word##bits* expected, Word##bits desired,    \
                                                  int order, int failure) {                    \
    return compare_exchange(object, expected, desired, order, failure, GROWSTACK_CODE);        \
  }
GROWSTACK_ATOMIC(8)
GROWSTACK_ATOMIC(16)
GROWSTACK_ATOMIC(32)
GROWSTACK_ATOMIC(64)
#undef GROWSTACK_ATOMIC

void __tsan_atomic_thread_fence(int order) {
  if (in_model()) {
    const Aside aside;
    races::fence(order_of(order));
  }
}
void __tsan_atomic_signal_fence(int) {}

// ---- the C library ------------------------------------------------------------------------------

int __real_pthread_mutex_lock(pthread_mutex_t* mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t* mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t* mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t* mutex) {
  if (!in_model()) {
    return __real_pthread_mutex_lock(mutex);
  }
  const Aside aside;
  step({.kind = Kind::lock, .object = address_of(mutex), .code = address_of(GROWSTACK_CODE)});
  races::check_exists(address_of(mutex));
  static_cast<void>(take_mutex(address_of(mutex)));
  races::acquire(address_of(mutex), std::memory_order_acquire);
  return 0;
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t* mutex) {
  if (!in_model()) {
    return __real_pthread_mutex_trylock(mutex);
  }
  const Aside aside;
  step({.kind = Kind::try_lock, .object = address_of(mutex), .code = address_of(GROWSTACK_CODE)});
  races::check_exists(address_of(mutex));
  if (!take_mutex(address_of(mutex))) {
    return EBUSY;
  }
  races::acquire(address_of(mutex), std::memory_order_acquire);
  return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t* mutex) {
  if (!in_model()) {
    return __real_pthread_mutex_unlock(mutex);
  }
  const Aside aside;
  step({.kind = Kind::unlock, .object = address_of(mutex), .code = address_of(GROWSTACK_CODE)});
  races::check_exists(address_of(mutex));
  races::release(address_of(mutex), std::memory_order_release, false);
  if (!leave_mutex(address_of(mutex))) {
    fail("a mutex is unlocked by a thread that has not locked it", address_of(mutex));
  }
  return 0;
}

int __wrap_sched_yield() {
  if (in_model()) {
    wait_for_change();
  }
  return 0;
}

long __real_syscall(long number, ...);

/// Here membarrier(2) has nothing to do, because a load reads what was stored last.
long __wrap_syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  std::array<long, 6> arguments{};
  for (long& each : arguments) {
    each = va_arg(list, long);
  }
  va_end(list);
  if (number == SYS_nanosleep && in_model()) {
    wait_for_change();
    return 0;
  }
  if (number == SYS_membarrier) {
    return 0;
  }
  return __real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3],
                        arguments[4], arguments[5]);
}

int __wrap_pthread_key_create(pthread_key_t* key, Destructor destructor) {
  if (keys == most_keys) {
    return EAGAIN;
  }
  destructors[keys] = destructor;
  *key = static_cast<pthread_key_t>(keys++);
  return 0;
}

int __wrap_pthread_setspecific(pthread_key_t key, const void* value) {
  specific()[key] = value;
  return 0;
}

int __wrap_pthread_atfork(Handler prepare, Handler parent, Handler child) {
  fork_handlers[fork_handler_count++] = {prepare, parent, child};
  return 0;
}

void __wrap_free(void* block) {
  if (block == nullptr || !in_thread()) {
    __real_free(block);
    return;
  }
  const bool counts = in_model();
  const Aside aside;
  if (counts) {
    races::free(address_of(block), malloc_usable_size(block));
  }
  *static_cast<void**>(block) = std::exchange(quarantine, block);
}

}  // extern "C"

namespace growstack::interleavings {

void empty_quarantine() noexcept {
  while (quarantine != nullptr) {
    __real_free(std::exchange(quarantine, *static_cast<void**>(quarantine)));
  }
}

}  // namespace growstack::interleavings

// Nothing is used again before the execution ends: an address names one object.
void* operator new(std::size_t bytes) {
  void* const block = std::malloc(bytes == 0 ? 1 : bytes);
  if (block == nullptr) {
    throw std::bad_alloc();
  }
  return block;
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  void* block = nullptr;
  if (posix_memalign(&block, static_cast<std::size_t>(alignment), bytes) != 0) {
    throw std::bad_alloc();
  }
  return block;
}
void operator delete(void* block) noexcept { __wrap_free(block); }
void operator delete(void* block, std::size_t) noexcept { __wrap_free(block); }
void operator delete(void* block, std::align_val_t) noexcept { __wrap_free(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { __wrap_free(block); }
