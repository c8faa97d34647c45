{
  # Builds lease-guard.c with Node-API, so one build works with every version of Node.js.
  "targets": [
    {
      "target_name": "lease_guard",
      "sources": ["lease-guard.c"],
      "cflags": ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-fstack-protector-strong", "-fvisibility=hidden"],
      "libraries": ["-lrt"],
      "ldflags": ["-Wl,-z,relro,-z,now"]
    }
  ]
}
