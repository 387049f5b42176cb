// The worker's function of A3S Code's documents, as it is there.
/* eslint-disable */
import { exec } from 'child_process';
import { promisify } from 'util';
import { readFile } from 'fs/promises';
import type { ExternalTask, ExternalTaskResult } from '../src/index.js';

const execAsync = promisify(exec);

export async function executeTask(task: ExternalTask): Promise<ExternalTaskResult> {
  switch (task.commandType) {
    case 'read': {
      const path = task.payload.path;
      try {
        const content = await readFile(path, 'utf-8');
        return {
          success: true,
          result: { content },
          error: null
        };
      } catch (e: any) {
        return {
          success: false,
          result: {},
          error: e.message
        };
      }
    }
    case 'bash': {
      const command = task.payload.command;
      try {
        const { stdout, stderr } = await execAsync(command);
        return {
          success: true,
          result: { stdout, stderr, exitCode: 0 },
          error: null
        };
      } catch (e: any) {
        return {
          success: false,
          result: { stdout: e.stdout, stderr: e.stderr, exitCode: e.code },
          error: e.message
        };
      }
    }
    default:
      return {
        success: false,
        result: {},
        error: `Unknown command type: ${task.commandType}`
      };
  }
}
