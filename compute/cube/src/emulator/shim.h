// What CUDA C++ needs to run on a processor: every thread of a cube is a fiber, and what threads of a warp or a cube do
// together is where fibers wait for each other. Slow and exact; it is for tests.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <math.h>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __launch_bounds__(n)
#define __grid_constant__
// The kernel's text brings its own names for these two, of the same size and another type.
#define uint64_t kernel_uint64_t
#define int64_t kernel_int64_t

namespace shim {

constexpr unsigned WARP = 32;
constexpr size_t STACK = 128 << 10;

struct Index { unsigned x, y, z; };

struct Fiber {
    Index thread;
    unsigned number;
    void *stack;
    void *top;
    bool done;
};

// Where threads wait until `wanted` have come.
struct Meeting { unsigned came, time; };

struct Warp { Meeting meeting; unsigned flips; unsigned slots[2][WARP]; };

static thread_local Index block, grid, threads;
static thread_local char *shared;
static thread_local std::vector<Fiber> fibers;
static thread_local std::vector<Warp> warps;
static thread_local Meeting cube;
static thread_local Fiber *now;
static thread_local void *outside;
static thread_local unsigned idle, left;
static thread_local void (*body)();

#if defined(__x86_64__)
extern "C" void shim_switch(void **save, void *load);
asm(R"(
.text
.type shim_switch, @function
shim_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size shim_switch, .-shim_switch
)");
#elif defined(__aarch64__)
extern "C" void shim_switch(void **save, void *load);
asm(R"(
.text
.type shim_switch, %function
shim_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size shim_switch, .-shim_switch
)");
#else
#error "fibers are written for x86-64 and aarch64"
#endif

inline void fail(const char *what) {
    fprintf(stderr, "kernel on the processor: %s\n", what);
    abort();
}

// Lets the next thread run that is not done; the last one to be done goes back outside.
inline void next() {
    Fiber *from = now;
    if (left == 0) {
        shim_switch(&from->top, outside);
        fail("a thread went on after its end");
    }
    do {
        now = now + 1 == fibers.data() + fibers.size() ? fibers.data() : now + 1;
    } while (now->done);
    if (now != from) shim_switch(&from->top, now->top);
}

inline void wait(Meeting &meeting, unsigned wanted) {
    unsigned time = meeting.time;
    if (++meeting.came == wanted) {
        meeting.came = 0;
        meeting.time++;
        idle = 0;
        return;
    }
    while (meeting.time == time) {
        if (++idle > 4 * fibers.size() + 4) fail("threads wait for some that will not come");
        next();
    }
}

inline void start() {
    body();
    now->done = true;
    left--;
    idle = 0;
    next();
    fail("a thread went on after its end");
}

inline Warp &warp() { return warps[now->number / WARP]; }
inline unsigned lane() { return now->number % WARP; }

template <class T> T exchange(T value, unsigned other) {
    static_assert(sizeof(T) == sizeof(unsigned), "words are exchanged");
    // Two sets of slots: whoever is ahead writes into the other one, and is never ahead by two.
    Warp &mine = warp();
    unsigned set = mine.meeting.time % 2;
    memcpy(&mine.slots[set][lane()], &value, sizeof value);
    wait(mine.meeting, WARP);
    T got;
    memcpy(&got, &mine.slots[set][other % WARP], sizeof got);
    return got;
}

template <class T> T argument(void *at) {
    if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(at);
    else return *reinterpret_cast<T *>(at);
}

static thread_local void **arguments;

template <auto kernel> struct Caller;
template <class... A, void (*kernel)(A...)> struct Caller<kernel> {
    template <size_t... I> static void with(std::index_sequence<I...>) { kernel(argument<A>(arguments[I])...); }
    static void call() { with(std::index_sequence_for<A...>()); }
    static constexpr size_t count = sizeof...(A);
};

inline void run(void (*call)(), void **given, const unsigned *cubes, const unsigned *dim, size_t shared_bytes) {
    static thread_local std::vector<char> stacks, memory;
    body = call;
    arguments = given;
    grid = {cubes[0], cubes[1], cubes[2]};
    threads = {dim[0], dim[1], dim[2]};
    unsigned all = dim[0] * dim[1] * dim[2];
    if (all % WARP) fail("a warp is not full");
    stacks.resize(all * STACK);
    memory.resize(shared_bytes + 128);
    shared = reinterpret_cast<char *>((reinterpret_cast<uintptr_t>(memory.data()) + 127) & ~uintptr_t(127));
    for (block.z = 0; block.z < grid.z; block.z++)
    for (block.y = 0; block.y < grid.y; block.y++)
    for (block.x = 0; block.x < grid.x; block.x++) {
        // Nothing is known of shared memory at the start: numbers that are none.
        memset(shared, 0xff, shared_bytes);
        fibers.assign(all, Fiber{});
        warps.assign(all / WARP, Warp{});
        cube = Meeting{};
        idle = 0;
        left = all;
        for (unsigned i = 0; i < all; i++) {
            Fiber &fiber = fibers[i];
            fiber.number = i;
            fiber.thread = {i % dim[0], i / dim[0] % dim[1], i / dim[0] / dim[1]};
            uintptr_t end = reinterpret_cast<uintptr_t>(stacks.data() + (i + 1) * STACK) & ~uintptr_t(63);
#if defined(__x86_64__)
            // Six registers, where to go, and a place that keeps the stack as a call would.
            void **top = reinterpret_cast<void **>(end) - 8;
            memset(top, 0, 64);
            top[6] = reinterpret_cast<void *>(&start);
#else
            void **top = reinterpret_cast<void **>(end - 160);
            memset(top, 0, 160);
            top[11] = reinterpret_cast<void *>(&start);
#endif
            fiber.top = top;
        }
        now = fibers.data();
        shim_switch(&outside, now->top);
    }
}

} // namespace shim

#define threadIdx (shim::now->thread)
#define blockIdx (shim::block)
#define gridDim (shim::grid)
#define blockDim (shim::threads)
#define warpSize (shim::WARP)
#define __syncthreads() shim::wait(shim::cube, unsigned(shim::fibers.size()))
#define __syncwarp() shim::wait(shim::warp().meeting, shim::WARP)
#define __activemask() (~0u)
#define __shfl_xor_sync(mask, value, other) shim::exchange(value, shim::lane() ^ (other))
#define __shfl_sync(mask, value, other) shim::exchange(value, other)

inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

struct __nv_bfloat16 {
    unsigned short bits;
    __nv_bfloat16() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __nv_bfloat16(T number) {
        float single = float(number);
        unsigned word;
        memcpy(&word, &single, 4);
        if ((word & 0x7fffffff) > 0x7f800000) bits = 0x7fff;
        else bits = (word + 0x7fff + (word >> 16 & 1)) >> 16;
    }
    operator float() const {
        unsigned word = unsigned(bits) << 16;
        float single;
        memcpy(&single, &word, 4);
        return single;
    }
};

struct __half {
    _Float16 number;
    __half() = default;
    template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>> __half(T from) : number(_Float16(float(from))) {}
    operator float() const { return float(number); }
};

namespace nvcuda::wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

// The first lane holds the whole matrix; the others have nothing to do.
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static constexpr int rows = std::is_same_v<Use, matrix_b> ? K : M;
    static constexpr int columns = std::is_same_v<Use, matrix_a> ? K : N;
    float at[rows][columns];
};

template <class F, class T> void fill_fragment(F &to, T value) {
    for (auto &row : to.at) for (auto &number : row) number = float(value);
}

template <class Use, int M, int N, int K, class T, class Layout>
void load_matrix_sync(fragment<Use, M, N, K, T, Layout> &to, const T *from, unsigned stride) {
    if (reinterpret_cast<uintptr_t>(from) % 32) shim::fail("a matrix is loaded from where the hardware cannot");
    __syncwarp();
    if (shim::lane()) return;
    constexpr bool by_row = std::is_same_v<Layout, row_major>;
    for (int i = 0; i < to.rows; i++) for (int j = 0; j < to.columns; j++)
        to.at[i][j] = float(from[by_row ? i * stride + j : j * stride + i]);
}

template <class D, class A, class B, class C> void mma_sync(D &d, const A &a, const B &b, const C &c) {
    __syncwarp();
    if (shim::lane()) return;
    D sums = c;
    for (int i = 0; i < a.rows; i++) for (int j = 0; j < b.columns; j++)
        for (int k = 0; k < a.columns; k++) sums.at[i][j] += a.at[i][k] * b.at[k][j];
    d = sums;
}

template <class F> void store_matrix_sync(float *to, const F &from, unsigned stride, layout_t layout) {
    if (reinterpret_cast<uintptr_t>(to) % 32) shim::fail("a matrix is stored where the hardware cannot");
    __syncwarp();
    if (shim::lane()) return;
    for (int i = 0; i < from.rows; i++) for (int j = 0; j < from.columns; j++)
        to[layout == mem_row_major ? i * stride + j : j * stride + i] = from.at[i][j];
}
} // namespace nvcuda::wmma
