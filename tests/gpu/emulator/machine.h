/* Stacks that one thread switches between. On x86-64 by hand, because swapcontext(3) makes two
 * system calls each time, and an emulated pass switches some ten million times. */
#ifndef TESTS_GPU_EMULATOR_MACHINE_H
#define TESTS_GPU_EMULATOR_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(EMULATOR_UCONTEXT)

struct machine_context {
    void *stack_pointer = nullptr; /* below it the registers that a callee keeps */
};

extern "C" void emulator_switch(void **save, void *load);
asm(R"(
    .text
    .p2align 4
    .hidden emulator_switch
    .globl emulator_switch
    .type emulator_switch, @function
emulator_switch:
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
    .size emulator_switch, . - emulator_switch
)");

static inline void machine_switch(machine_context *from, machine_context *to)
{
    emulator_switch(&from->stack_pointer, to->stack_pointer);
}

/* The first switch to it calls run, which never returns. */
static inline void machine_begin(machine_context *c, char *stack, size_t bytes, void (*run)())
{
    uintptr_t top = (reinterpret_cast<uintptr_t>(stack) + bytes) & ~(uintptr_t)15;
    void **frame = reinterpret_cast<void **>(top) - 8; /* six registers, where to return, padding */
    for (int i = 0; i < 8; i++)
        frame[i] = nullptr;
    frame[6] = reinterpret_cast<void *>(run);
    c->stack_pointer = frame;
}

#else
#include <ucontext.h>

struct machine_context {
    ucontext_t registers;
};

static inline void machine_switch(machine_context *from, machine_context *to)
{
    swapcontext(&from->registers, &to->registers);
}

static inline void machine_begin(machine_context *c, char *stack, size_t bytes, void (*run)())
{
    getcontext(&c->registers);
    c->registers.uc_stack.ss_sp = stack;
    c->registers.uc_stack.ss_size = bytes;
    c->registers.uc_link = nullptr;
    makecontext(&c->registers, run, 0);
}

#endif
#endif
