// x86-64: all registers that the ABI names, code that loads and stores them, and each kind of
// instruction that touches memory.
//
// A touch is a piece of assembler code that finds known values in all registers. It touches the
// stack at rdi, the border, below which nothing is committed. rsi is the middle of a buffer that is
// no stack. Registers that a touch needs with other values it sets by itself.
#pragma once

#include <asm/prctl.h>
#include <cpuid.h>
#include <immintrin.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

namespace growstack::testing::registers {

/// In the order in which the code below stores them.
enum General : std::uint8_t {
  rax,
  rbx,
  rcx,
  rdx,
  rsi,
  rdi,
  rbp,
  rsp,
  r8,
  r9,
  r10,
  r11,
  r12,
  r13,
  r14,
  r15,
  general_count
};
inline constexpr std::array<const char*, general_count> general_names{
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

/// Has room for all that XSAVE stores, AMX tiles included.
inline constexpr std::size_t most_extended_bytes = std::size_t{16} * 1024;

/// What XSAVE stores in this order: the x87 and SSE registers, a header, and then one part for each
/// component of the processor's (CPUID leaf 13 tells where).
struct Registers {
  std::array<std::uint64_t, general_count> general;
  std::uint64_t flags;
  std::uint64_t fs_base;
  std::uint64_t gs_base;
  std::array<std::uint16_t, 6> selectors;  ///< cs, ss, ds, es, fs, gs
  alignas(64) std::array<std::byte, most_extended_bytes> extended;
};
static_assert(offsetof(Registers, flags) == 128 && offsetof(Registers, extended) == 192);

}  // namespace growstack::testing::registers

extern "C" {
[[gnu::used]] inline growstack::testing::registers::Registers proof_before{};  ///< what is loaded
[[gnu::used]] inline growstack::testing::registers::Registers
    proof_after{};  ///< what was found afterwards
[[gnu::used]] inline growstack::testing::registers::Registers
    proof_other{};                                        ///< what clobbers them
[[gnu::used]] inline std::uint64_t proof_components = 0;  ///< what XSAVE and XRSTOR are about
[[gnu::used]] inline void (*proof_touch)() = nullptr;
[[gnu::used]] inline std::uint64_t proof_own_stack_pointer = 0;
[[gnu::used]] inline std::array<std::uint32_t, 2> proof_own_control{};  ///< MXCSR, x87 control word
/// The stack on which flags are pushed and popped. It has room for the frame of a signal.
[[gnu::used]] alignas(64) inline std::array<std::byte, std::size_t{64} * 1024> proof_flags_stack{};
/// Elements on both sides of the border, in each of the pages next to it.
[[gnu::used]] alignas(64) inline constexpr std::array<std::int32_t, 16> proof_indices{
    3, 1, -1, 5, -2, -700, 7, -1500, 9, -3, 11, -1025, 13, -4, 15, -2047};

/// Loads all registers of proof_before, runs proof_touch, and stores all in proof_after.
void proof_load_touch_and_store();
/// Puts other values into every register that a function may change.
void proof_clobber();
}

// clang-format off
#define PROOF_FOR_EACH_GENERAL(line)                                                            \
  line("rax", "0") line("rbx", "8") line("rcx", "16") line("rdx", "24") line("rbp", "48")       \
  line("r8", "64") line("r9", "72") line("r10", "80") line("r11", "88") line("r12", "96")       \
  line("r13", "104") line("r14", "112") line("r15", "120") line("rsi", "32") line("rdi", "40")  \
  line("rsp", "56")
#define PROOF_LOAD(name, at) "  movq proof_before+" at "(%rip), %" name "\n"
#define PROOF_STORE(name, at) "  movq %" name ", proof_after+" at "(%rip)\n"
#define PROOF_COMPONENTS                      \
  "  movl proof_components(%rip), %eax\n"     \
  "  movl proof_components+4(%rip), %edx\n"

asm(".pushsection .text\n"
    "  .globl proof_load_touch_and_store\n"
    "proof_load_touch_and_store:\n"
    "  pushq %rbx\n  pushq %rbp\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  stmxcsr proof_own_control(%rip)\n"
    "  fnstcw proof_own_control+4(%rip)\n"
    "  movq %rsp, proof_own_stack_pointer(%rip)\n"
    PROOF_COMPONENTS
    "  xrstor64 proof_before+192(%rip)\n"
    "  leaq proof_flags_stack+65536(%rip), %rsp\n"
    "  pushq proof_before+128(%rip)\n"
    "  popfq\n"
    PROOF_FOR_EACH_GENERAL(PROOF_LOAD)
    "  jmp *proof_touch(%rip)\n"
    "proof_store:\n"
    PROOF_FOR_EACH_GENERAL(PROOF_STORE)
    "  leaq proof_flags_stack+65536(%rip), %rsp\n"
    "  pushfq\n"
    "  popq proof_after+128(%rip)\n"
    "  cld\n"
    PROOF_COMPONENTS
    "  xsave64 proof_after+192(%rip)\n"
    "  movq proof_own_stack_pointer(%rip), %rsp\n"
    "  fninit\n"
    "  fldcw proof_own_control+4(%rip)\n"
    "  vzeroupper\n"
    "  ldmxcsr proof_own_control(%rip)\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbp\n  popq %rbx\n"
    "  ret\n"
    "  .globl proof_clobber\n"
    "proof_clobber:\n"
    "  subq $8, %rsp\n"
    "  stmxcsr (%rsp)\n"
    "  fnstcw 4(%rsp)\n"
    PROOF_COMPONENTS
    "  xrstor64 proof_other+192(%rip)\n"
    "  movq proof_other(%rip), %rax\n"
    "  movq %rax, %rcx\n  movq %rax, %rdx\n  movq %rax, %rsi\n  movq %rax, %rdi\n"
    "  movq %rax, %r8\n  movq %rax, %r9\n  movq %rax, %r10\n  movq %rax, %r11\n"
    "  fninit\n"
    "  fldcw 4(%rsp)\n"
    "  vzeroupper\n"
    "  ldmxcsr (%rsp)\n"
    "  addq $8, %rsp\n"
    "  ret\n"
    ".popsection\n");
// clang-format on

namespace growstack::testing::registers {

/// What a touch needs of the processor.
enum class Needs : std::uint8_t { nothing, avx2, avx512 };

/// A stack pointer that has nothing to do with the touch.
inline constexpr std::ptrdiff_t elsewhere = 256;

/// A kind of instruction that touches the stack below the border.
struct Touch {
  const char* what;
  void (*code)();
  std::ptrdiff_t rsp = elsewhere;  ///< the stack pointer, from the border
  Needs needs = Needs::nothing;
  bool changes_registers = true;  ///< false: all are afterwards as they were before
  bool reads_below = false;  ///< reads what lies below the stack pointer, which may be anything
};

inline std::vector<Touch>& touches() {
  static std::vector<Touch> all;
  return all;
}
struct RegisteredTouch {
  explicit RegisteredTouch(const Touch& touch) { touches().push_back(touch); }
};

// NOLINTNEXTLINE(bugprone-macro-parentheses)
#define PROOF_TOUCH(id, what, code, ...)                                                       \
  asm(".pushsection .text\nproof_touch_" #id ":\n" code "\n  jmp proof_store\n.popsection\n"); \
  extern "C" void proof_touch_##id();                                                          \
  static const RegisteredTouch touch_##id(Touch{what, proof_touch_##id __VA_OPT__(, ) __VA_ARGS__})
#define PROOF_STORE_TOUCH(id, what, code) \
  PROOF_TOUCH(id, what, code, elsewhere, Needs::nothing, false)

// By the stack pointer.
PROOF_TOUCH(push, "push", "pushq %r9", 0);
PROOF_TOUCH(push_word, "push of two bytes", "pushw %r9w", 0);
PROOF_TOUCH(push_number, "push of a number", "pushq $-5", 0);
PROOF_TOUCH(push_memory, "push from memory", "pushq (%rsi)", 0);
PROOF_TOUCH(push_flags, "pushf", "pushfq", 0);
PROOF_TOUCH(push_across, "push across the border", "pushq %r9", 3);
PROOF_TOUCH(call, "call", "call 1f\n1:", 0);
PROOF_TOUCH(call_register, "call through a register", "leaq 1f(%rip), %rax\n call *%rax\n1:", 0);
PROOF_TOUCH(call_memory, "call through memory",
            "leaq 1f(%rip), %rax\n movq %rax, (%rsi)\n call *(%rsi)\n1:", 0);
PROOF_TOUCH(enter, "enter", "enter $48, $0", 0);
PROOF_TOUCH(enter_nested, "enter with seven frames of outer functions",
            "leaq 512(%rdi), %rbp\n enter $48, $7", 0);
PROOF_TOUCH(enter_pages, "enter with a frame of three pages", "enter $12288, $0", 0);
PROOF_TOUCH(leave, "leave", "leaq -16(%rdi), %rbp\n leave");
PROOF_TOUCH(pop_memory, "pop to memory", "popq -8(%rdi)");
PROOF_TOUCH(pop, "pop", "popq %r9", -8);
PROOF_TOUCH(probe, "the probe of -fstack-clash-protection", "subq $4096, %rsp\n orq $0, (%rsp)", 0,
            Needs::nothing, true, true);
PROOF_TOUCH(probe_far, "a frame of 64 KiB", "subq $65536, %rsp\n movq %r9, (%rsp)", 0);

// Stores and loads.
PROOF_STORE_TOUCH(store_8, "a store of one byte", "movb %r11b, -1(%rdi)");
PROOF_STORE_TOUCH(store_64, "a store of eight bytes", "movq %r11, -8(%rdi)");
PROOF_STORE_TOUCH(store_across, "a store across the border", "movq %r11, -3(%rdi)");
PROOF_STORE_TOUCH(store_far, "a store two pages below", "movq %r11, -8200(%rdi)");
PROOF_STORE_TOUCH(store_number, "a store of a number", "movq $-77, -8(%rdi)");
PROOF_STORE_TOUCH(store_streaming, "movnti", "movnti %r11, -8(%rdi)");
PROOF_TOUCH(load_64, "a load", "movq -8(%rdi), %r11");
PROOF_TOUCH(load_across, "a load across the border", "movq -3(%rdi), %r11");
PROOF_TOUCH(load_extended, "a load with extension", "movsbq -1(%rdi), %r11");

// Reads, changes and writes.
PROOF_TOUCH(add, "add to memory", "addq %r8, -8(%rdi)");
PROOF_TOUCH(add_carry, "add with carry to memory", "adcq %r8, -8(%rdi)");
PROOF_TOUCH(subtract_borrow, "subtract with borrow", "sbbq %r8, -8(%rdi)");
PROOF_TOUCH(rotate_carry, "a rotation through the carry", "rclq -8(%rdi)");
PROOF_TOUCH(shift_double, "a shift of two registers", "shldq %cl, %r8, -8(%rdi)");
PROOF_TOUCH(decrement, "dec, which keeps the carry", "decq -8(%rdi)");
PROOF_STORE_TOUCH(invert, "not", "notq -8(%rdi)");
PROOF_TOUCH(set_bit, "bts with a bit below", "movq $-3, %r8\n btsq %r8, (%rdi)");
PROOF_STORE_TOUCH(set_condition, "setcc", "setc -1(%rdi)");
PROOF_TOUCH(exchange, "xchg", "xchgq %r8, -8(%rdi)");
PROOF_TOUCH(locked_add, "lock xadd", "lock xaddq %r8, -8(%rdi)");
PROOF_TOUCH(compare, "cmp with memory", "cmpq %r8, -8(%rdi)");
PROOF_TOUCH(compare_exchange, "cmpxchg that differs", "lock cmpxchgq %r8, -8(%rdi)");
PROOF_TOUCH(compare_exchange_equal, "cmpxchg that is equal",
            "movl $0, %eax\n lock cmpxchgq %r8, -8(%rdi)");
PROOF_TOUCH(compare_exchange_16, "cmpxchg16b that differs", "lock cmpxchg16b -16(%rdi)");
PROOF_TOUCH(compare_exchange_16_equal, "cmpxchg16b that is equal",
            "movl $0, %eax\n movl $0, %edx\n lock cmpxchg16b -16(%rdi)");
PROOF_TOUCH(compare_exchange_8_across, "cmpxchg8b across the border", "cmpxchg8b -4(%rdi)");
PROOF_TOUCH(multiply, "mul by memory", "mulq -8(%rdi)");

// Strings. Downwards, the fault comes in the middle of the instruction.
#define PROOF_DOWN(id, what, count, code) \
  PROOF_TOUCH(id, what, "addq $88, %rdi\n movl $" #count ", %ecx\n std\n " code)
PROOF_DOWN(fill_down, "rep stosb downwards, two pages", 8400, "rep stosb");
PROOF_DOWN(fill_words_down, "rep stosq downwards, two pages", 1050, "rep stosq");
PROOF_DOWN(copy_down, "rep movsb downwards, two pages", 8400, "addq $4096, %rsi\n rep movsb");
PROOF_DOWN(copy_words_down, "rep movsq downwards, two pages", 1050, "addq $4096, %rsi\n rep movsq");
PROOF_DOWN(scan_down, "repne scasb downwards", 8400, "movb $0xa5, %al\n repne scasb");
PROOF_DOWN(load_down, "rep lodsb downwards", 8400, "movq %rdi, %rsi\n rep lodsb");
PROOF_TOUCH(fill_up, "rep stosb upwards, from two pages below",
            "subq $8200, %rdi\n movl $8300, %ecx\n cld\n rep stosb");
PROOF_TOUCH(copy_up, "rep movsb upwards, from two pages below",
            "leaq -8200(%rdi), %rdx\n movq %rsi, %rdi\n subq $4096, %rdi\n movq %rdx, %rsi\n"
            " movl $8190, %ecx\n cld\n rep movsb");
PROOF_TOUCH(compare_down, "repe cmpsb downwards",
            "leaq -1(%rdi), %rsi\n leaq -4097(%rdi), %rdi\n movl $4000, %ecx\n std\n repe cmpsb");
PROOF_TOUCH(one_of_string, "one stosq, downwards", "subq $8, %rdi\n std\n stosq");

// x87.
PROOF_TOUCH(x87_store, "fst", "fstl -8(%rdi)");
PROOF_TOUCH(x87_store_pop, "fstp of ten bytes", "fstpt -10(%rdi)");
PROOF_TOUCH(x87_store_across, "fstp of ten bytes across the border", "fstpt -5(%rdi)");
PROOF_TOUCH(x87_integer_pop, "fistp", "fistpll -8(%rdi)");
PROOF_TOUCH(x87_decimal_pop, "fbstp", "fbstp -10(%rdi)");
PROOF_TOUCH(x87_load, "fld", "fldl -8(%rdi)");
PROOF_TOUCH(x87_control, "fnstcw", "fnstcw -2(%rdi)");
PROOF_TOUCH(x87_environment, "fnstenv", "fnstenv -28(%rdi)");
PROOF_TOUCH(x87_all, "fnsave across the border", "fnsave -60(%rdi)");

// SSE.
PROOF_STORE_TOUCH(sse_store, "movaps", "movaps %xmm7, -16(%rdi)");
PROOF_STORE_TOUCH(sse_store_across, "movups across the border", "movups %xmm7, -5(%rdi)");
PROOF_STORE_TOUCH(sse_streaming, "movntps", "movntps %xmm7, -16(%rdi)");
PROOF_TOUCH(sse_load_across, "a load of 16 bytes across the border", "movups -5(%rdi), %xmm7");
PROOF_TOUCH(sse_masked, "maskmovdqu",
            "pcmpeqd %xmm1, %xmm1\n subq $8, %rdi\n maskmovdqu %xmm1, %xmm7");
PROOF_STORE_TOUCH(sse_control, "stmxcsr", "stmxcsr -4(%rdi)");
PROOF_STORE_TOUCH(save_legacy, "fxsave across the border", "fxsave64 -256(%rdi)");
PROOF_TOUCH(restore_legacy, "fxrstor of zeros", "fxrstor64 -512(%rdi)");
PROOF_TOUCH(save_all, "xsave across the border", PROOF_COMPONENTS "xsave64 -1024(%rdi)");
PROOF_TOUCH(save_all_below, "xsave below the border", PROOF_COMPONENTS "xsave64 -16384(%rdi)");
PROOF_TOUCH(save_compact, "xsavec across the border", PROOF_COMPONENTS "xsavec64 -1024(%rdi)");
PROOF_TOUCH(restore_all, "xrstor of zeros", PROOF_COMPONENTS "xrstor64 -4096(%rdi)");

// AVX and AVX2.
#define PROOF_AVX2(id, what, code) PROOF_TOUCH(id, what, code, elsewhere, Needs::avx2)
PROOF_AVX2(avx_store_across, "a store of 32 bytes across the border", "vmovups %ymm9, -13(%rdi)");
PROOF_AVX2(avx_streaming, "vmovntps", "vmovntps %ymm9, -32(%rdi)");
PROOF_AVX2(avx_load_across, "a load of 32 bytes across the border", "vmovups -13(%rdi), %ymm9");
PROOF_AVX2(avx_masked_store, "vmaskmovps across the border",
           "vpcmpeqd %ymm1, %ymm1, %ymm1\n vmaskmovps %ymm9, %ymm1, -13(%rdi)");
PROOF_AVX2(avx_masked_load, "vpmaskmovd across the border",
           "vpcmpeqd %ymm1, %ymm1, %ymm1\n vpmaskmovd -13(%rdi), %ymm1, %ymm9");
PROOF_AVX2(avx_upper_half, "vextracti128", "vextracti128 $1, %ymm9, -16(%rdi)");
PROOF_AVX2(avx_gather, "a gather of both sides of the border",
           "vmovdqu proof_indices(%rip), %ymm1\n vpcmpeqd %ymm2, %ymm2, %ymm2\n"
           " vpgatherdd %ymm2, (%rdi,%ymm1,4), %ymm9");

// AVX-512.
#define PROOF_AVX512(id, what, code) PROOF_TOUCH(id, what, code, elsewhere, Needs::avx512)
PROOF_AVX512(zmm_store_across, "a store of 64 bytes across the border",
             "vmovdqu64 %zmm21, -29(%rdi)");
PROOF_AVX512(zmm_streaming, "vmovntdq", "vmovntdq %zmm21, -64(%rdi)");
PROOF_AVX512(zmm_load_across, "a load of 64 bytes across the border",
             "vmovdqu64 -29(%rdi), %zmm21");
PROOF_AVX512(zmm_masked_store, "a masked store of bytes across the border",
             "kxnorq %k3, %k3, %k3\n kshiftrq $5, %k3, %k3\n vmovdqu8 %zmm21, -29(%rdi){%k3}");
PROOF_AVX512(zmm_masked_load, "a load across the border that zeroes what is masked",
             "kxnorq %k3, %k3, %k3\n kshiftrq $5, %k3, %k3\n vmovdqu8 -29(%rdi), %zmm21{%k3}{z}");
PROOF_AVX512(zmm_compress, "vpcompressd across the border",
             "kxnorw %k3, %k3, %k3\n vpcompressd %zmm21, -29(%rdi){%k3}");
PROOF_AVX512(zmm_gather, "a gather of 16 elements on both sides of the border",
             "vmovdqu32 proof_indices(%rip), %zmm1\n kxnorw %k3, %k3, %k3\n"
             " vpgatherdd (%rdi,%zmm1,4), %zmm21{%k3}");
PROOF_AVX512(zmm_scatter, "a scatter of 16 elements to both sides of the border",
             "vmovdqu32 proof_indices(%rip), %zmm1\n kxnorw %k3, %k3, %k3\n"
             " vpscatterdd %zmm21, (%rdi,%zmm1,4){%k3}");
PROOF_AVX512(opmask_store, "a store of an opmask", "kmovq %k5, -8(%rdi)");

// ---- the processor ------------------------------------------------------------------------------

/// A component of what XSAVE stores.
struct Component {
  const char* name;
  unsigned number;  ///< its bit
  std::size_t offset;
  std::size_t size;
};

inline std::uint64_t enabled_components() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (std::uint64_t{high} << 32U) | low;
}

inline constexpr unsigned pkru_component = 9;
inline constexpr unsigned tile_configuration = 17;
inline constexpr unsigned tile_data = 18;

/// Asks the kernel for AMX, which a process must do before it uses tiles.
inline bool may_use_tiles() {
  constexpr long request = 0x1023;  // ARCH_REQ_XCOMP_PERM
  return (enabled_components() & (std::uint64_t{1} << tile_data)) != 0 &&
         syscall(SYS_arch_prctl, request, tile_data) == 0;
}

/// Returns the components that this processor has, and that the program may use.
inline std::vector<Component> components() {
  static constexpr std::array<const char*, 19> names{"x87",
                                                     "SSE",
                                                     "upper halves of ymm",
                                                     nullptr,
                                                     nullptr,
                                                     "opmasks",
                                                     "upper halves of zmm0-15",
                                                     "zmm16-31",
                                                     nullptr,
                                                     "PKRU",
                                                     nullptr,
                                                     nullptr,
                                                     nullptr,
                                                     nullptr,
                                                     nullptr,
                                                     nullptr,
                                                     nullptr,
                                                     "configuration of tiles",
                                                     "tiles"};
  static const bool tiles = may_use_tiles();
  std::vector<Component> all{{"x87", 0, 32, 128}, {"SSE", 1, 160, 256}};
  for (unsigned number = 2; number < names.size(); ++number) {
    const bool is_tiles = number == tile_configuration || number == tile_data;
    const bool is_there = (enabled_components() >> number & 1U) != 0 && (!is_tiles || tiles);
    std::uint32_t size = 0;
    std::uint32_t offset = 0;
    std::uint32_t unused = 0;
    if (names[number] != nullptr && is_there &&
        __get_cpuid_count(0xd, number, &size, &offset, &unused, &unused) != 0) {
      all.push_back({names[number], number, offset, size});
    }
  }
  return all;
}

inline bool has(Needs needs) {
  switch (needs) {
    case Needs::nothing:
      return true;
    case Needs::avx2:
      return __builtin_cpu_supports("avx2") != 0;
    case Needs::avx512:
      return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  }
  return false;
}

inline bool may_set_bases() { return (getauxval(AT_HWCAP2) & 2U) != 0; }

// ---- values -------------------------------------------------------------------------------------

template <class Value>
void put(Registers& registers, std::size_t offset, const Value& value) {
  std::memcpy(registers.extended.data() + offset, &value, sizeof value);
}

/// Fills all registers with values that no other call gives. All exceptions of floating-point
/// arithmetic stay masked, because a raised one would be due at the next instruction.
inline void fill(Registers& registers, std::mt19937_64& chance) {
  for (std::uint64_t& each : registers.general) {
    each = chance();
  }
  // Carry, parity, adjust, zero, sign, direction and overflow; ID, which nobody uses.
  constexpr std::uint64_t flags = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x400 | 0x800 | 0x20'0000;
  registers.flags = 0x202 | (chance() & flags);
  registers.gs_base = may_set_bases() ? chance() >> 18U : 0;
  registers.extended = {};
  put(registers, 0, static_cast<std::uint16_t>(0x007f | (chance() & 0x0f00)));   // control word
  put(registers, 2, static_cast<std::uint16_t>(chance() & 0x7f7f));              // status word
  put(registers, 4, static_cast<std::uint8_t>(chance()));                        // which are empty
  put(registers, 24, static_cast<std::uint32_t>(0x1f80 | (chance() & 0xe07f)));  // MXCSR
  for (const Component& each : components()) {
    if (each.number == pkru_component) {
      // Key 15 forbids all, and nobody has it; key 0 allows all.
      put(registers, each.offset, std::uint32_t{0xc000'0000});
    } else if (each.number == tile_configuration) {
      std::array<std::uint8_t, 64> configuration{1};
      for (std::size_t tile = 0; tile < 8; ++tile) {
        configuration[16 + 2 * tile] = 64;  // bytes of a row
        configuration[48 + tile] = 16;      // rows
      }
      put(registers, each.offset, configuration);
    } else if (each.number == 0) {
      for (std::size_t at = 0; at < 8; ++at) {  // ten bytes each
        put(registers, each.offset + 16 * at, chance());
        put(registers, each.offset + 16 * at + 8, static_cast<std::uint16_t>(chance()));
      }
    } else {
      for (std::size_t at = 0; at < each.size; at += 8) {
        put(registers, each.offset + at, chance());
      }
    }
    proof_components |= std::uint64_t{1} << each.number;
  }
  put(registers, 512, proof_components);  // none of them is as after a reset
}

[[gnu::target("fsgsbase")]] inline void store_bases(Registers& registers) {
  if (may_set_bases()) {
    registers.fs_base = _readfsbase_u64();
    registers.gs_base = _readgsbase_u64();
  }
}
[[gnu::target("fsgsbase")]] inline void set_gs_base(std::uint64_t base) {
  if (may_set_bases()) {
    _writegsbase_u64(base);
  }
}

inline void store_selectors(Registers& registers) {
  std::array<std::uint16_t, 6>& all = registers.selectors;
  asm volatile(
      "movw %%cs, %0\n movw %%ss, %1\n movw %%ds, %2\n movw %%es, %3\n movw %%fs, %4\n"
      " movw %%gs, %5"
      : "=m"(all[0]), "=m"(all[1]), "=m"(all[2]), "=m"(all[3]), "=m"(all[4]), "=m"(all[5]));
}

/// Runs a touch at the border with the registers of proof_before, and stores all in proof_after.
/// The bases of the segments are not in a signal's frame: they stay in the processor.
inline void run(const Touch& touch, std::uintptr_t border, std::uintptr_t stack_pointer,
                std::uintptr_t buffer) {
  const std::uint64_t gs_base = proof_before.gs_base;
  store_bases(proof_before);
  const std::uint64_t gs_base_of_the_program = proof_before.gs_base;
  proof_before.gs_base = gs_base;
  store_selectors(proof_before);
  proof_before.general[rdi] = border;
  proof_before.general[rsi] = buffer;
  proof_before.general[rsp] = stack_pointer;
  proof_touch = touch.code;
  proof_after = {};
  set_gs_base(gs_base);
  proof_load_touch_and_store();
  store_bases(proof_after);
  store_selectors(proof_after);
  set_gs_base(gs_base_of_the_program);
}

/// What a function keeps for its caller, besides the stack pointer.
struct Kept {
  std::uint64_t rbx, rbp, r12, r13, r14, r15;
  std::uint32_t mxcsr, x87_control;
  bool operator==(const Kept&) const = default;
};

/// Changes what controls floating-point arithmetic: rounding, precision, flushing to zero.
inline void change_control_registers() {
  const std::uint32_t mxcsr = 0xffc0;
  const std::uint16_t x87_control = 0x0c7f;
  asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(mxcsr), "m"(x87_control));
}

/// Puts known values into all of these, calls function(), and returns what is there afterwards.
/// Writes what was there before to `before`.
[[gnu::noinline]] inline Kept kept_by(void (*function)(), Kept& before) {
  std::array<std::uint64_t, 10> found{};
  before = {.rbx = 0x1b0b'0b0b'0b0b'0b01,
            .rbp = 0x1b1b,
            .r12 = 0x1c1c,
            .r13 = 0x1d1d,
            .r14 = 0x1e1e,
            .r15 = 0x1f1f,
            .mxcsr = 0x5f80,
            .x87_control = 0x067f};
  const auto x87_control = static_cast<std::uint16_t>(before.x87_control);
  std::uint32_t own_mxcsr = 0;
  std::uint16_t own_control = 0;
  asm volatile("stmxcsr %0\n fnstcw %1" : "=m"(own_mxcsr), "=m"(own_control));
  // Leaves the red zone alone, because the compiler does not know of the call. What is pushed is
  // found again by the stack pointer, which is kept where the aligned one points.
  std::uint64_t* at = found.data();
  asm volatile(
      "ldmxcsr %[mxcsr]\n fldcw %[control]\n"
      " leaq -128(%%rsp), %%rsp\n pushq %%rbp\n pushq %%rdi\n"
      " movabsq $0x1b0b0b0b0b0b0b01, %%rbx\n movl $0x1b1b, %%ebp\n movl $0x1c1c, %%r12d\n"
      " movl $0x1d1d, %%r13d\n movl $0x1e1e, %%r14d\n movl $0x1f1f, %%r15d\n"
      " movq %%rsp, %%rdx\n andq $-16, %%rsp\n subq $16, %%rsp\n movq %%rdx, (%%rsp)\n"
      " call *%%rax\n"
      " movq (%%rsp), %%rsp\n popq %%rdi\n"
      " movq %%rbx, (%%rdi)\n movq %%rbp, 8(%%rdi)\n movq %%r12, 16(%%rdi)\n"
      " movq %%r13, 24(%%rdi)\n movq %%r14, 32(%%rdi)\n movq %%r15, 40(%%rdi)\n"
      " stmxcsr 48(%%rdi)\n fnstcw 56(%%rdi)\n"
      " popq %%rbp\n leaq 128(%%rsp), %%rsp"
      : "+a"(function), "+D"(at)
      : [mxcsr] "m"(before.mxcsr), [control] "m"(x87_control)
      : "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
        "cc");
  asm volatile("ldmxcsr %0\n fldcw %1" : : "m"(own_mxcsr), "m"(own_control));
  return {.rbx = found[0],
          .rbp = found[1],
          .r12 = found[2],
          .r13 = found[3],
          .r14 = found[4],
          .r15 = found[5],
          .mxcsr = static_cast<std::uint32_t>(found[6]),
          .x87_control = static_cast<std::uint32_t>(found[7])};
}

inline std::string in_hex(std::uint64_t value) {
  char text[19];
  std::snprintf(text, sizeof text, "%#llx", static_cast<unsigned long long>(value));
  return text;
}

/// Returns which registers differ, and how; empty if none does.
inline std::string difference(const Registers& one, const Registers& other) {
  std::string all;
  const auto compare = [&all](const std::string& name, std::uint64_t a, std::uint64_t b) {
    if (a != b) {
      all += " " + name + " " + in_hex(a) + " -> " + in_hex(b);
    }
  };
  for (std::size_t each = 0; each < general_count; ++each) {
    compare(general_names[each], one.general[each], other.general[each]);
  }
  compare("flags", one.flags, other.flags);
  compare("fs base", one.fs_base, other.fs_base);
  compare("gs base", one.gs_base, other.gs_base);
  for (std::size_t each = 0; each < one.selectors.size(); ++each) {
    compare("selector " + std::to_string(each), one.selectors[each], other.selectors[each]);
  }
  const auto bytes_differ = [&](std::size_t offset, std::size_t size) {
    return std::memcmp(one.extended.data() + offset, other.extended.data() + offset, size) != 0;
  };
  all += bytes_differ(0, 2) ? " x87 control word" : "";
  all += bytes_differ(2, 2) ? " x87 status word" : "";
  all += bytes_differ(4, 1) ? " x87 tags" : "";
  all += bytes_differ(24, 4) ? " MXCSR" : "";
  for (const Component& each : components()) {
    all += bytes_differ(each.offset, each.size) ? std::string(" ") + each.name : "";
  }
  return all;
}

}  // namespace growstack::testing::registers
