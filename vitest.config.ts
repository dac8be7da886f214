import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/{unit,sim,system,attacks,fuzz}/**/*.test.ts'],
    globalSetup: ['test/support/run-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2
  }
})
