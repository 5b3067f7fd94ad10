include(CheckCCompilerFlag)

set(CAESARION_WARNINGS
    -Wall -Wextra -Wformat=2 -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wmissing-declarations -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wvla
    -Wundef -Wnull-dereference -Wdouble-promotion -Wimplicit-fallthrough -Wredundant-decls
    -Wnested-externs -Wdate-time -Wframe-larger-than=16384 -Walloca -Wconversion
    -Wno-sign-conversion -Wno-unused-parameter -Wno-missing-field-initializers
    # gcc only
    -Wformat-signedness -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wstringop-overflow=4
    -Wtrampolines -Wcast-align=strict
    # clang only
    -Wcomma -Wconditional-uninitialized -Wthread-safety)

# The warnings of our style on one target; a flag the compiler does not know is left out.
function(caesarion_warnings target)
    foreach(flag ${CAESARION_WARNINGS})
        string(MAKE_C_IDENTIFIER "HAVE${flag}" have)
        check_c_compiler_flag(${flag} ${have})
        if(${have})
            target_compile_options(${target} PRIVATE ${flag})
        endif()
    endforeach()
    if(CAESARION_WERROR)
        target_compile_options(${target} PRIVATE -Werror)
    endif()
endfunction()

# Language, sanitizers or hardening: the same for every target of a build.
macro(caesarion_compile_flags)
    set(CMAKE_C_STANDARD 17)
    set(CMAKE_C_EXTENSIONS ON)
    set(CMAKE_POSITION_INDEPENDENT_CODE ON)
    set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
    add_compile_definitions(_GNU_SOURCE)
    add_compile_options(-fno-common -fvisibility=hidden -fno-omit-frame-pointer)
    if(CAESARION_SANITIZE)
        add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -g)
        add_link_options(-fsanitize=address,undefined)
        add_compile_definitions(CAESARION_SANITIZED=1)
    else()
        add_compile_definitions(CAESARION_SANITIZED=0)
    endif()
    if(CMAKE_BUILD_TYPE STREQUAL "Release")
        add_compile_options(-D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
                            -fcf-protection=full)
        add_link_options(-pie -Wl,-z,relro,-z,now,-z,noexecstack,--as-needed)
        if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
            add_compile_options(-ftrivial-auto-var-init=zero)
        endif()
    endif()
endmacro()
