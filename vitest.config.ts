import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'local/test/**/*.test.ts', 'examples/test/**/*.test.ts'],
    // Real processes on machines that do other things as well; a test waits for conditions, never for time.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    globalSetup: ['local/servers/for-tests.ts'],
    pool: 'forks',
    maxWorkers: 2,
    env: { LOG_LEVEL: process.env.LOG_LEVEL ?? 'error' },
  },
})
