import { defineConfig } from 'vitest/config'

/** What needs Kafka: vitest.kafka.config.ts runs all of it and nothing else. */
export const KAFKA = ['packages/transport/test/kafka*.test.ts', '**/test/**/*.kafka.test.ts']

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'local/test/**/*.test.ts', 'examples/test/**/*.test.ts'],
    // Real servers, each started when the first test file asks for it, all stopped at the end.
    globalSetup: ['local/servers/for-tests.ts'],
    // Real processes on machines that do other things as well; a test waits for conditions, never for time.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    env: { LOG_LEVEL: process.env.LOG_LEVEL ?? 'error' },
  },
})
