import { defineConfig } from 'vitest/config'

/** What needs Kafka: vitest.kafka.config.ts runs all of it and nothing else. */
export const KAFKA = ['packages/transport/test/kafka*.test.ts', '**/test/**/*.kafka.test.ts']

/** Out of `npm test` until they pass. */
const HELD_BACK = [
  // Not in their time, with twenty times the load.
  'packages/cli/test/killing.kafka.test.ts',
  'packages/cli/test/services.kafka.test.ts',
]

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'local/test/**/*.test.ts', 'examples/test/**/*.test.ts'],
    exclude: ['**/node_modules/**', ...HELD_BACK],
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
